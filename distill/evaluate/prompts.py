"""What stands before a text in an evaluation: the model's own prompts, by task and side, or an
instruction for each task; and the check that they are those of training."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UserError, need
from distill.retrieve.encoder import Side
from distill.run import fingerprint, read_json

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from sentence_transformers import SentenceTransformer

    from distill.evaluate.contender import Contender

_SIDES: dict[Side, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""The names under which sentence-transformers looks for a side's prompt."""


@dataclass(frozen=True)
class Prompts:
    """`named` and `default` are the model's own. `given` replaces them on its side;
    `instruction_template` holds {instruction} and ends in {query}.

    Raises:
        UserError: from the constructor, for a template that is none.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    given: Mapping[Side, str] = field(default_factory=dict)
    instruction_template: str | None = None

    def __post_init__(self) -> None:
        template = self.instruction_template
        if template is None or ("{instruction}" in template and template.endswith("{query}")):
            return
        raise UserError(
            f"instruction template {template!r}",
            "does not hold {instruction}, or does not end in {query}",
            "give one such as 'Instruct: {instruction}\\nQuery: {query}'",
        )

    def before(self, task: "TaskMetadata", side: Side | None) -> str:
        """The prompt of a task's texts; `side` is None where the task has no sides (STS,
        classification, clustering, pairs), as mteb has it.

        What is given for the side comes first. Then, but for documents, the task's instruction
        where there is a template. Then mteb's rule over the model's prompts: the task's name and
        side, its name, its category and side, its category, the side. Texts without a side have no
        other prompt, unless the model's configuration names one as its default.
        """
        if side is not None and side in self.given:
            return self.given[side]
        if self.instruction_template is not None and side != "document":
            instruction = instruction_of(task, side)
            return self.instructed(instruction) if instruction else ""
        rule = need("mteb.models.abs_encoder", "eval").get_prompt_name
        kind = need("mteb.types", "eval").PromptType
        name = rule(dict(self.named), task, kind(side) if side else None)
        if name is not None:
            return self.named[name]
        return self.of_side(side) if side else self.named.get(self.default or "", "")

    def instructed(self, instruction: str) -> str:
        """What stands before a query under an instruction; without a template the query's own
        prompt."""
        if self.instruction_template is None:
            return self.of_side("query")
        template = self.instruction_template.removesuffix("{query}")
        return template.replace("{instruction}", instruction)

    def of_side(self, side: Side) -> str:
        """The prompt of a side, whatever the task."""
        if side in self.given:
            return self.given[side]
        return next((self.named[name] for name in _SIDES[side] if name in self.named), "")

    @property
    def mark(self) -> str | None:
        """Changes with what departs from the model's own prompts; None where nothing does."""
        if not self.given and self.instruction_template is None:
            return None
        departs = {"given": dict(self.given), "template": self.instruction_template}
        return fingerprint("prompts", departs, {})[:8]


def prompts_of(model: "SentenceTransformer", instruction_template: str | None = None) -> Prompts:
    """The prompts that a sentence-transformers model carries in its configuration."""
    named = {name: prompt for name, prompt in model.prompts.items() if prompt is not None}
    return Prompts(named, model.default_prompt_name, instruction_template=instruction_template)


def instruction_of(task: "TaskMetadata", side: Side | None) -> str:
    """mteb's instruction for a task, in the task's words or in those of its category; empty where
    it has none for this side."""
    prompt: Any = task.prompt
    if isinstance(prompt, dict):
        # Tasks without sides are instructed as queries are.
        return str(prompt.get(side or "query") or "")
    return str(prompt or need("mteb.abstasks.abstask", "eval").get_abstask_prompt(task.name))


def check_prompts(
    contender: "Contender", given: Mapping[Side, str], force: bool = False
) -> "Contender":
    """The contender under the prompts that are given, if they are those of its training.

    Those are known from the manifest of the stage that trained it, or else from the model's
    configuration; where neither has any, nothing is refused. A contender whose configuration was
    changed since its training is refused too.

    Raises:
        UserError: if a prompt differs from training's, unless forced.
    """
    prompts = dataclasses.replace(contender.prompts, given=dict(given))
    if not force:
        _check_instructions(contender)
        for side, trained in trained_prompts(contender).items():
            if prompts.of_side(side) != trained:
                raise _differs(contender, f"{side} prompt", prompts.of_side(side), trained)
    return dataclasses.replace(contender, prompts=prompts)


def trained_prompts(contender: "Contender") -> dict[Side, str]:
    """The prompts of a model's training by side; empty where they are not known."""
    student = _student_of(contender.folder)
    if student is not None:
        query = str(student["query_template"]).removesuffix("{query}")
        query = query.replace("{task}", str(student["default_task"]))
        return {"query": query, "document": str(student["document_prompt"])}
    own = dataclasses.replace(contender.prompts, given={})
    known: dict[Side, str] = {side: own.of_side(side) for side in _SIDES}
    # sentence-transformers gives every model two empty ones.
    return known if any(known.values()) else {}


def _check_instructions(contender: "Contender") -> None:
    """A student is instructed as it was in training, or not at all."""
    student = _student_of(contender.folder)
    template = contender.prompts.instruction_template
    if student is None or template is None:
        return
    trained = str(student["query_template"]).replace("{task}", "{instruction}")
    if template != trained:
        raise _differs(contender, "instruction template", template, trained)


def _student_of(folder: Path | None) -> dict[str, Any] | None:
    """The section `student` under which a stage of a run trained the model; None for others."""
    manifest = None if folder is None else folder / ".stage" / "manifest.json"
    if manifest is None or not manifest.is_file():
        return None
    settings: dict[str, Any] = read_json(manifest)["settings"]
    return settings.get("student")


def _differs(contender: "Contender", what: str, given: str, trained: str) -> UserError:
    return UserError(
        f"model {contender.reference!r}",
        f"would be evaluated with the {what} {given!r}, and was trained with {trained!r}",
        "leave the prompts to the model, whose configuration must be as it was trained, or add "
        "--force-prompts to see what others do",
    )
