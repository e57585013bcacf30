"""Describe the differences between a stage that stands in a run and the one that the recipe asks
for: section, key, old and new value."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_SECTIONS = {
    "passages": "corpus",
    "held-out": "corpus",
    "generations": "generate",
    "parsed": "generate",
    "queries": "generate",
    "examples-labelled": "generate.labelled",
    "examples-brainstorm": "generate.filters",
    "candidates": "retriever",
    "survivors": "relabel",
    "labels": "relabel",
    "examples": "relabel",
    "base": "student",
    "student": "train",
    "evaluation": "evaluate",
}
"""The recipe's section that most settings of a stage come from."""
_OWN_SECTIONS = {"llm", "retriever", "student", "train", "teacher", "seed", "source"}
"""First words of settings that name their section themselves."""
_LONGEST = 60
"""Characters of a value that are shown."""
_MOST = 8
"""Changes that are listed."""
_ABSENT = object()


def describe_changes(
    stage: str,
    before: Mapping[str, Any],
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> str:
    """List what has changed since a stage was written: `generate.filters.max_words: 40 -> 30`.

    Args:
        stage: the stage's name, such as queries.
        before: the manifest of what stands there, or its `settings` and `inputs` alone.
        settings: what the recipe asks for now.
        inputs: the fingerprints of the stages that it is made from, by name.
    """
    after = json.loads(json.dumps(settings))
    changes = [
        f"{_name_setting(stage, path)}: {_show(old)} -> {_show(new)}"
        for path, old, new in _iterate_differences(before["settings"], after, ())
    ]
    changes += [
        f"what it is made from: {name}"
        for name in sorted(before["inputs"].keys() | inputs.keys())
        if before["inputs"].get(name) != inputs.get(name)
    ]
    more = f"; and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
    return "; ".join(changes[:_MOST]) + more


def _iterate_differences(
    old: Any, new: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield the keys, however deep, whose values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _iterate_differences(
                old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, key)
            )
    elif old != new:
        yield path, old, new


def _name_setting(stage: str, path: tuple[str, ...]) -> str:
    section = _SECTIONS.get(stage, "relabel" if stage.startswith("judgements") else None)
    named = path[0] in _OWN_SECTIONS or section is None
    return ".".join(path if named else (section or "", *path))


def _show(value: Any) -> str:
    """Show a value as JSON; where it is long, its beginning."""
    if value is _ABSENT:
        return "(none)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
