"""The content of a run's folder, as the report's sections read it."""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.evaluate.run_summary import read_answer_groups, read_items, read_run_summary
from distill.evaluate.statistics.item_parts import AnswerGroups
from distill.evaluate.statistics.retention import ItemValues
from distill.evaluate.summary import Summary
from distill.files.read_yaml import parse_yaml
from distill.store.stage import open_stage

Manifest = dict[str, Any]
_BESIDE = ("judge", "judge-evaluation", "ranker-check")
"""Stages that are told though neither the student nor its evaluation is made from them."""


@dataclass(frozen=True)
class RunData:
    """`stages`: manifests by name, each after its inputs; of a run that has a student, without what
    other settings left behind. `summary` is None for a run that is not
    evaluated as it stands; `recipe_text` is empty for one that was made stage by stage."""

    folder: Path
    stages: dict[str, Manifest]
    recipe_text: str
    recipe: dict[str, Any]
    summary: Summary | None

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.folder.resolve().name

    @property
    def complete(self) -> dict[str, Manifest]:
        """The manifests of the complete stages by name."""
        return {name: m for name, m in self.stages.items() if m["complete"]}

    @property
    def items(self) -> ItemValues | None:
        """The evaluation's values of single items; None where it kept none, or they are damaged."""
        return read_items(self.folder) if self.summary is not None else None

    @property
    def answer_groups(self) -> dict[str, AnswerGroups]:
        """The evaluation's queries that ask for the same documents, by task."""
        return read_answer_groups(self.folder) if self.summary is not None else {}

    @property
    def not_evaluated(self) -> str:
        """Why there is no summary."""
        if self.stages.get("evaluation", {}).get("complete"):
            return "The student was made anew since the run was evaluated."
        return "The run is not evaluated yet."


def read_run_data(run_folder: Path) -> RunData:
    """Read a run's manifests, recipe and summary.

    Raises:
        UserError: if the folder holds no stage of a run, or a summary of another version.
    """
    stages = _leave_out_leftovers(_sort_by_inputs(_read_manifests(run_folder)))
    if not stages:
        raise UserError(str(run_folder), "holds no stage of a run", "name a run's folder")
    path = run_folder / "recipe.yaml"
    text = path.read_text("utf-8") if path.is_file() else ""
    summary = read_run_summary(run_folder)
    return RunData(run_folder, stages, text, parse_yaml(text, str(path)) or {}, summary)


def put_before_first(names: Iterable[str]) -> list[str]:
    """Put `..._before` before its `..._after`, which a manifest has the other way round, for it
    orders names by their letters."""
    known, ordered = list(names), list[str]()
    for name in known:
        twin = f"{name.removesuffix('after')}before"
        ordered += [twin, name] if name.endswith("_after") and twin in known else [name]
    return list(dict.fromkeys(ordered))


def _read_manifests(run_folder: Path) -> dict[str, Manifest]:
    files = sorted(run_folder.glob("*/.stage/manifest.json"))
    folders = [path.parent.parent for path in files]
    # A folder being made anew is hidden until it stands.
    return {f.name: open_stage(f).manifest for f in folders if not f.name.startswith(".")}


def _leave_out_leftovers(stages: dict[str, Manifest]) -> dict[str, Manifest]:
    """Leave out what neither the student nor its evaluation was made from, such as a task that the
    recipe named before. All is kept of a run without a student, and of one that is being made anew:
    there a stage has other inputs than now stand."""
    if not stages.get("student", {}).get("complete"):
        return stages
    used = _collect_inputs(stages, ("student", "evaluation"))
    if used is None:
        return stages
    for name in _BESIDE:
        used |= _collect_inputs(stages, (name,)) or set()
    return {name: manifest for name, manifest in stages.items() if name in used}


def _collect_inputs(stages: dict[str, Manifest], names: Iterable[str]) -> set[str] | None:
    """Collect the stages of these names with all that they were made from; None where one of them
    has another input than now stands."""
    used: set[str] = set()
    waiting = [name for name in names if name in stages]
    while waiting:
        name = waiting.pop()
        used.add(name)
        inputs = {of: mark for of, mark in stages[name]["inputs"].items() if of in stages}
        if any(stages[of]["fingerprint"] != mark for of, mark in inputs.items()):
            return None
        waiting += inputs.keys() - used
    return used


def _sort_by_inputs(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    order = TopologicalSorter(
        {name: sorted(m["inputs"].keys() & manifests.keys()) for name, m in manifests.items()}
    ).static_order()
    return {name: manifests[name] for name in order}
