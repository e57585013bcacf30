"""Keys of the recipe that earlier versions called otherwise.

An old name in a recipe is refused with the new one. In the copy of a recipe that a run holds it is
read as the new one, and fingerprints keep the old name, so that runs continue.
"""

from typing import Any

RENAMED_KEYS = {
    "generate.hands": "generate.example_sets",
    "llm.form": "llm.prompt_format",
    "teacher.also": "teacher.additional_models",
    "train.in_batch_off": "train.no_in_batch_negatives",
}
"""Old name -> new name."""


def fingerprint_name(section: str | None, name: str) -> str:
    """Return the name under which fingerprints hold a key of a section: its first one."""
    for old, new in RENAMED_KEYS.items():
        if new == f"{section}.{name}":
            return old.rpartition(".")[2]
    return name


def rename_old_keys(values: dict[str, Any]) -> None:
    """Rename the old keys among a recipe's values, in place: in its sections, in its training
    stages, and in the variants of an ablation."""
    for old, new in RENAMED_KEYS.items():
        _rename(values, old, new)  # a variant of an ablation writes section.key
        section, _, key = old.partition(".")
        _rename(values.get(section), key, new.partition(".")[2])
    train, ablation = values.get("train"), values.get("ablation")
    for stage in _list_items(train, "stages"):
        rename_old_keys({"train": stage})
    for variant in _list_items(ablation, "arms"):
        rename_old_keys(variant)


def _list_items(section: Any, key: str) -> list[dict[str, Any]]:
    """Return the mappings that a section holds as a list, or by name; none where it is
    malformed."""
    inner = section.get(key) if isinstance(section, dict) else None
    items = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else []
    return [item for item in items if isinstance(item, dict)]


def _rename(values: Any, old: str, new: str) -> None:
    if isinstance(values, dict) and old in values:
        values[new] = values.pop(old)
