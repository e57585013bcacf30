"""Compares a recipe with the one that a run was begun with: which of its stages would be made, and
paid for, again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.recipe import Recipe, load_recipe
from distill.recipe.renamed_keys import fingerprint_name
from distill.recipe.sections.embedder import PERFORMANCE_KEYS as OF_EMBEDDER
from distill.recipe.sections.llm import PERFORMANCE_KEYS as OF_LLM
from distill.recipe.sections.train import PERFORMANCE_KEYS as OF_TRAINING
from distill.store.integrity import read_manifest

_READ = {
    "passages": {"corpus"},
    "generations": {"generate", "llm"},
    "parsed": {"generate"},
    "queries": {"generate"},
    "candidates": {"retriever", "relabel"},
    "judgements": {"relabel", "llm"},
    "survivors": {"relabel"},
    "labels": {"relabel"},
    "examples": {"relabel"},
    "base": {"student"},
    "student": {"student", "train", "teacher"},
    "evaluation": {"evaluate", "teacher"},
}
"""Sections whose keys stand in the settings of a stage under their own names."""
_SECTIONS = frozenset(section for sections in _READ.values() for section in sections)
_ONLY_SPEED = {
    "llm": OF_LLM,
    "retriever": OF_EMBEDDER,
    "teacher": OF_EMBEDDER,
    "train": OF_TRAINING,
}
_RENAMED_BY_COPY = {"prompt", "examples", "personas", "custom", "brainstorm", "labelled", "log"}
"""Keys of `generate` that name files, which have other names in a run's copy of its recipe."""
READ_ALONE = {"passages", "passages-held-out", "held-out"}
"""Stages that spend nothing: a run of these alone has not begun."""
_PAID = ("generations", "judgements")
_LONGEST = 40

Change = tuple[str, str]
"""Section and key; the section is empty for the seed."""


def check_begun(recipe: Recipe, folder: Path) -> list[str]:
    """Return a notice of what the recipe has changed since the run in the folder was begun, and of
    the stages that would be made again; none where there is no run, or nothing was changed. What
    the files of a corpus or a prompt hold is not compared."""
    paths = sorted(folder.glob("*/.stage/manifest.json"))
    has_begun = any(path.parent.parent.name not in READ_ALONE for path in paths)
    if not has_begun or not (folder / "recipe.yaml").is_file():
        return []
    try:
        before = load_recipe(folder / "recipe.yaml")
    except UserError:  # of an earlier version, whose recipes were others: a run does not read it
        return []
    changes = _list_changes(before, recipe)
    if not changes:
        return []
    manifests = {path.parent.parent.name: read_manifest(path) for path in paths}
    judges_apart = recipe.relabel.llm is not None and before.relabel.llm is not None
    stale = {
        name
        for name, manifest in manifests.items()
        if any(_holds(name, manifest["settings"], change, judges_apart) for change in changes)
    }
    while more := {
        name for name, of in manifests.items() if name not in stale and stale & {*of["inputs"]}
    }:
        stale |= more
    told = "; ".join(f"{'.'.join(filter(None, key))}: {said}" for key, said in changes.items())
    begun = f"the run in {folder} was begun with other settings ({told})"
    if not stale:
        return [f"{begun}; `distill run` says, before it redoes a stage, which it would be"]
    ordered = sorted(stale, key=lambda name: (_find_place(name), name))
    paid = [name for name in ordered if name.startswith(_PAID)]
    again = f"{begun}: it has to make these stages again: {', '.join(ordered)}"
    asked = f"; a language model is asked again for {', '.join(paid)}" if paid else ""
    if stale == {"evaluation"}:  # which is replaced without asking
        return [again]
    return [f"{again}{asked}; `distill run` refuses that without --overwrite stale"]


def _list_changes(before: Recipe, after: Recipe) -> dict[Change, str]:
    """List the keys that differ and may change what a stage makes, with both values."""
    old, new = (of.model_dump(mode="json") for of in (before, after))
    changes: dict[Change, str] = {}
    if old["seed"] != new["seed"]:
        changes["", "seed"] = f"{old['seed']} -> {new['seed']}"
    for section in (name for name in new if name in _SECTIONS):
        for key, value in new[section].items():
            is_file = section == "generate" and key in _RENAMED_BY_COPY
            is_file |= section == "relabel" and key.startswith("prompt_")
            if key in _ONLY_SPEED.get(section, ()) or is_file or old[section][key] == value:
                continue
            changes[section, key] = f"{_show(old[section][key])} -> {_show(value)}"
    return changes


def _holds(stage: str, settings: Mapping[str, Any], change: Change, judges_apart: bool) -> bool:
    """Return whether a stage's settings hold a key of the recipe."""
    section, key = change
    if not section:
        return key in settings
    kind = "judgements" if stage.startswith("judgements-") else stage
    if section not in _READ.get(kind, ()):
        return False
    if kind == "judgements" and section == "llm" and judges_apart:
        return False
    name, inner = fingerprint_name(section, key), settings.get(section)
    if isinstance(inner, dict):
        of_stages = [part for part in inner.values() if isinstance(part, dict)]
        return name in inner or (section == "train" and any(name in part for part in of_stages))
    return name in settings if inner is None else True


def _find_place(stage: str) -> int:
    kind = "judgements" if stage.startswith("judgements-") else stage
    return [*_READ].index(kind) if kind in _READ else len(_READ)


def _show(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
