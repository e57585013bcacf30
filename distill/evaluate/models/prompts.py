"""The prompts before texts in an evaluation: the model's own, by task and side, or an instruction
for each task; and the check that they are those of training."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.embed.open_model import OpenModel, list_carried_prompts
from distill.embed.wording import (
    PLAIN,
    PROMPT_NAMES,
    EmbedderPrompts,
    escape_prompt,
    find_carried_template,
)
from distill.errors import need
from distill.files.atomic import read_json
from distill.recipe.sections.embedder import PLAIN_QUERY, EmbedderConfig
from distill.store.stage import fingerprint
from distill.text.format import QUERY_TEMPLATE, Side

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata


@dataclass(frozen=True)
class EvalPrompts:
    """The prompts with which an evaluation writes texts for a model.

    Args:
        wording: of queries and documents; where its template holds {task}, the model is told each
            task, and texts without a side are written as queries are.
        named: the model's own prompts, or those that it was published with, by name.
        default: the name of the one for texts of no other.
        given: a person's own prompts, by side, which replace those of the model.
        instructions: what the model is told, by a task's name, category or side, where that is
            other than mteb's words.
        default_task: what a student is told of a search that no task describes.
        symmetric: whether it was trained on pairs of two alike sides, both written as queries, as
            texts without a side then are.
        own: whether all of it is what the model's files carry.
        set_sides: the sides whose words the settings say: no prompt of a task is in their place.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    given: Mapping[Side, str] = field(default_factory=dict)
    wording: EmbedderPrompts = PLAIN
    instructions: Mapping[str, Any] = field(default_factory=dict)
    default_task: str | None = None
    symmetric: bool = False
    own: bool = True
    set_sides: frozenset[Side] = frozenset()

    def choose_prompt(self, task: "TaskMetadata", side: Side | None) -> str:
        """Return the prompt of a task's texts; `side` is None where the task has no sides (STS,
        classification, clustering, pairs, bitext), as mteb has it.

        What is given for the side comes first. Then, but for documents, the task's instruction
        where the model is told tasks, and what the settings say of the side. Then mteb's rule over
        the model's prompts: the task's name and side, its name, its category and side, its
        category, the side. Texts without a side have no other prompt, unless the model's
        configuration names one as its default.
        """
        if side is not None and side in self.given:
            return self.given[side]
        if side == "document" and self.wording.titled is not None:
            return self.wording.before_documents
        if self.wording.has_task and side != "document":
            return self.wording.write_query_prompt(self.choose_instruction(task, side))
        if side is not None and side in self.set_sides:
            return self.get_prompt(side)
        rule = need("mteb.models.abs_encoder", "eval").get_prompt_name
        kind = need("mteb.types", "eval").PromptType
        name = rule(dict(self.named), task, kind(side) if side else None)
        particular = name is not None and name not in _PLAIN_NAMES
        if particular:
            return self.named[name]
        if side is None and not self.symmetric:
            return self.named.get(self.default or "", "")
        return self.get_prompt(side or "query")

    def choose_instruction(self, task: "TaskMetadata", side: Side | None) -> str:
        """Return what an instructed model is told of a task: its own words, mteb's for the task,
        those of its training for a search of one's own, mteb's for the category."""
        for name in (task.name, task.type, side):
            if name == task.type and task.prompt:
                break
            if name is not None and name in self.instructions:
                return _select_side(self.instructions[name], side)
        if task.prompt:
            return _select_side(task.prompt, side)
        if side == "query" and self.default_task is not None:
            return self.default_task
        return str(need("mteb.abstasks.abstask", "eval").get_abstask_prompt(task.name))

    def get_prompt(self, side: Side) -> str:
        """Return the prompt of a side, whatever the task."""
        if side in self.given:
            return self.given[side]
        if side == "document":
            return self.wording.document
        return self.wording.write_query_prompt(self.default_task)

    @property
    def writes_titles(self) -> bool:
        """Whether the model has a way of its own to write a document's title."""
        return self.wording.titled is not None and "document" not in self.given

    def write_document(self, text: str, title: str) -> str:
        """Write a document with a title behind the prompt that `before` gives."""
        return self.wording.write_document(text, title)[len(self.wording.before_documents) :]

    @property
    def mark(self) -> str | None:
        """Changes with what departs from the prompts that the model's files carry; None where
        nothing does."""
        instructed = self.wording.template if self.wording.has_task else None
        plain = instructed is None and self.wording.titled is None and not self.symmetric
        if not self.given and self.own and plain:
            return None
        departs: dict[str, object] = {
            "given": dict(self.given),
            "template": instructed,
            "named": None if self.own else dict(self.named),
            "query": None if self.own else self.wording.template,
            "document": None if self.own else self.wording.document,
            "instructions": fingerprint("instructions", dict(self.instructions), {}),
            "symmetric": self.symmetric,
            "titled": self.wording.titled and self.wording.titled.document_template,
        }
        if self.set_sides and any(name not in _PLAIN_NAMES for name in self.named):
            departs["set_sides"] = sorted(self.set_sides)
        return fingerprint("prompts", departs, {})[:8]


_PLAIN_NAMES = {name for names in PROMPT_NAMES.values() for name in names}
"""The prompts that `EmbedderPrompts` knows."""


def build_prompts(
    opened: OpenModel, settings: EmbedderConfig, instructions: bool = True
) -> EvalPrompts:
    """Decide how a model that was opened is asked: told each task where it was trained or published
    so, unless `instructions` is off; then one task stands for all, a student's default."""
    model, published, wording = opened.model, opened.published, opened.wording
    carried = list_carried_prompts(model)
    student = read_student_settings(opened.folder)
    default_task = None if student is None else str(student["default_task"])
    if student is not None and settings.query_template == PLAIN_QUERY and not settings.query_prompt:
        wording = _apply_training_template(wording, student)
    if not instructions:
        wording = fix_task(wording, default_task)
    of_sides: dict[Side, bool] = {
        "query": settings.query_template != PLAIN_QUERY or bool(settings.query_prompt),
        "document": bool(settings.document_prompt),
    }
    set_sides = frozenset(side for side, is_set in of_sides.items() if is_set)
    return EvalPrompts(
        named=published.prompts or carried,
        default=model.default_prompt_name,
        wording=wording,
        instructions=published.instructions,
        default_task=default_task,
        symmetric=instructions and bool((student or {}).get("symmetric")),
        own=not (published.mark or published.prompts or set_sides),
        set_sides=set_sides,
    )


def fix_task(wording: EmbedderPrompts, task: str | None) -> EmbedderPrompts:
    """Return the same prompts, told one task for all."""
    template = escape_prompt(wording.write_query_prompt(task)) + PLAIN_QUERY
    return dataclasses.replace(wording, template=template)


def _apply_training_template(
    wording: EmbedderPrompts, student: Mapping[str, Any]
) -> EmbedderPrompts:
    """Apply the template of the training: a student whose configuration holds one task's prompt
    alone is told every task, as long as that prompt is the one of its training."""
    template = find_carried_template({QUERY_TEMPLATE: str(student["query_template"])})
    if template is None or wording.has_task:
        return wording
    trained = dataclasses.replace(wording, template=template)
    alike = trained.write_query_prompt(str(student["default_task"])) == wording.write_query_prompt()
    return trained if alike else wording


def _select_side(words: Any, side: Side | None) -> str:
    """Select a side's instruction, which may be of one side alone; what has no sides is instructed
    as queries are."""
    if isinstance(words, dict):
        return str(words.get(side or "query") or "")
    return str(words)


def read_student_settings(folder: Path | None) -> dict[str, Any] | None:
    """Read the section `student` under which a stage of a run built or trained the model; None for
    others."""
    manifest = None if folder is None else folder / ".stage" / "manifest.json"
    if manifest is None or not manifest.is_file():
        return None
    settings: dict[str, Any] = read_json(manifest)["settings"]
    return settings.get("student") or (settings if "query_template" in settings else None)
