"""Explain in words what is wrong with a file's values: the row, the key, and what may have been
meant."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from distill.errors import UserError
from distill.files.read_yaml import find_in_yaml
from distill.recipe.renamed_keys import RENAMED_KEYS

_MOST = 8
"""Faults that are told at once."""
_LONGEST = 120
"""Letters of a key that are shown, and compared with the known ones."""
_LEAST_LIKE = 0.6
"""Less than so much alike (0 to 1) is no key that was meant."""


@dataclass
class RecipeText:
    """The text that values come from: `where` in errors, the YAML text, for each key that `--set`
    has replaced what was written there, and what validates the text with some of those."""

    where: str
    text: str
    sets: dict[str, str] = field(default_factory=dict)
    validate: Callable[[Sequence[str]], object] | None = None

    def list_blamed(self, items: Sequence[str], error: Mapping[str, Any]) -> list[str]:
        """List those of some `--set` that bring a fault: one after the other is left out, and stays
        out where the fault is still there. What remains is one of them, or several that are wrong
        together; nothing where the text has the fault by itself. One that only hides the fault when
        it is missing, such as the name, is not listed."""
        fault = (error["loc"], error["msg"])
        kept, freeing = list(items), []
        for item in items:
            rest = [one for one in kept if one != item]
            found = self._list_faults(
                [s for s in self.sets.values() if s not in items or s in rest]
            )
            if fault in found:
                kept = rest
            elif not found:
                freeing.append(item)
        return freeing or kept

    def _list_faults(self, sets: Sequence[str]) -> list[tuple[Any, str]]:
        """List place and message of each fault of the text with some `--set`."""
        try:
            if self.validate is not None:
                self.validate(sets)
        except ValidationError as fault:
            return [(one["loc"], one["msg"]) for one in fault.errors()]
        except UserError as fault:
            return [((), str(fault))]
        return []


def explain_faults(
    fault: ValidationError, written: RecipeText, known: Sequence[str] = ()
) -> tuple[str, str]:
    """Explain where and what: all that pydantic refused, each with its row, in the place where
    there is but one.

    Args:
        known: every key, to name the nearest one instead of one that is unknown.
    """
    errors = fault.errors()
    located = [(_find_place(error, written), error) for error in errors[:_MOST]]
    if len(errors) == 1:
        (place, only) = located[0]
        return place.describe_within(written.where), _explain(only, place, known)
    words = [f"{place.before}{_explain(error, place, known)}" for place, error in located]
    more = len(errors) - len(located)
    return written.where, "; ".join(words) + (f"; and {more} more" if more else "")


class _FaultLocation(NamedTuple):
    row: int | None = None
    sets: str | None = None
    """The `--set`, or several, without secrets."""
    source: str | None = None
    """The scalar as it is written there."""

    @property
    def before(self) -> str:
        if self.sets is not None:
            return f"{self.sets}: "
        return "" if self.row is None else f"row {self.row}: "

    def describe_within(self, where: str) -> str:
        if self.sets is not None:
            return self.sets
        return where if self.row is None else f"{where}, row {self.row}"


def _name_sets(items: Iterable[str]) -> str:
    return ", ".join(map(_hide_secret, items))


def _hide_secret(item: str) -> str:
    """Return a `--set` without what is behind the scheme of an address: it may hold a password."""
    return f"--set {re.sub('://.*', '://...', item, flags=re.DOTALL)[:_LONGEST]}"


def _explain(error: Mapping[str, Any], place: _FaultLocation, known: Sequence[str]) -> str:
    path = ".".join(str(part) for part in error["loc"])[:_LONGEST]
    if error["type"] != "extra_forbidden":
        message = _write_message(error, place.source)
        if not path and place.sets is not None:
            return message
        return f"{path or 'the file'}: {message}"
    bare = re.sub(r"\.\d+(?=\.)", "", path)
    if bare in RENAMED_KEYS:
        return f"the key {bare} is now called {RENAMED_KEYS[bare]}"
    near = find_nearest_key(bare, known)
    return f"unknown key {path!r}" + (f"; the nearest known one is {near!r}" if near else "")


def find_nearest_key(key: str, known: Sequence[str]) -> str | None:
    """Find the known key that is meant: one of the same last part, one that goes on where this one
    ends, or else the one spelt most like it; None if none is much like it."""
    same = [one for one in known if one.rpartition(".")[2] == key]
    longer = [one for one in known if one.startswith(f"{key}_")]
    alike = difflib.get_close_matches(key[:_LONGEST], known, n=1, cutoff=_LEAST_LIKE)
    return next(iter([*same, *longer, *alike]), None)


def _find_place(error: Mapping[str, Any], written: RecipeText) -> _FaultLocation:
    path: Sequence[str | int] = error["loc"]
    dotted = ".".join(str(part) for part in path)
    for key, item in written.sets.items():
        if dotted == key or dotted.startswith(f"{key}."):
            return _FaultLocation(sets=_name_sets([item]))
    inner = [item for key, item in written.sets.items() if not path or key.startswith(f"{dotted}.")]
    node = find_in_yaml(written.text, path) if path else None
    if blamed := written.list_blamed(inner, error) or (inner if path and node is None else []):
        return _FaultLocation(sets=_name_sets(blamed))
    return _FaultLocation(node.row, None, node.text) if node else _FaultLocation()


def _write_message(error: Mapping[str, Any], source: str | None) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    value = error["input"]
    if error["type"] == "string_type" and isinstance(value, bool | int | float | date):
        text = source or _guess_meaning(value)
        return (
            f"YAML reads {text} as {_name_kind(value)}, and a text is expected; quote it: '{text}'"
        )
    if error["type"] == "string_type" and isinstance(value, dict | list):
        read = "a mapping" if isinstance(value, dict) else "a list"
        return f"YAML reads what stands there as {read}, and a text is expected; put it in quotes"
    if isinstance(value, str | int | float) and error["type"] != "value_error":
        return f"{message}, not {str(value)[:40]!r}"
    return message


def _guess_meaning(value: bool | int | float | date) -> str:
    """Return what may have been written: among two letters no is Norwegian."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _name_kind(value: bool | int | float | date) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a date" if isinstance(value, date) else "a number"


def list_known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """List the dotted names of all keys of a section."""
    keys = []
    for name, info in section.model_fields.items():
        keys.append(prefix + name)
        for inner in (info.annotation, *get_args(info.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                keys += list_known_keys(inner, f"{prefix}{name}.")
    return keys
