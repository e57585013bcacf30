"""The JSON schema of a reply, read from a user's file, and the validator made of it.

Patterns are matched by RE2, whose time grows with the text alone: Python's own matcher can take
longer than a life for a pattern such as (a+)+$.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.compute as pc
import referencing.exceptions
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from distill.errors import UserError
from distill.files.read import parse_json

_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose schemas are of the same value: a reference through them alone never ends."""


def read_schema(path: Path, source: str) -> dict[str, Any]:
    """Read a JSON schema from a file's text.

    Raises:
        UserError: if it is no schema of an object, refers to other files, to what is not there or
            to itself alone, or has a pattern that cannot be matched in bounded time.
    """
    where = str(path)
    schema = parse_json(source, where, "fix the row named")
    if not isinstance(schema, dict):
        raise UserError(where, "is not a JSON schema of an object", "begin with a brace")
    try:
        validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as fault:
        what = f"is not a JSON schema: {fault.json_path}: {fault.message[:300]}"
        raise UserError(where, what, "fix it") from fault
    except (TypeError, ValueError, AttributeError, RecursionError) as fault:
        raise UserError(where, f"is not a JSON schema ({fault})", "fix it") from fault
    for pattern in _iterate_patterns(schema):
        _check_pattern(where, pattern)
    _check_references(where, schema)
    return schema


def make_validator(schema: Mapping[str, Any]) -> Validator:
    """Make the validator of a checked schema."""
    base = validator_for(schema, jsonschema.Draft202012Validator)
    safe = extend(
        base, {"pattern": _validate_pattern, "patternProperties": _validate_pattern_properties}
    )
    return safe(schema)


def has_match(pattern: str, text: str) -> bool:
    """Return whether RE2 finds the pattern anywhere in the text."""
    return bool(pc.match_substring_regex(pa.scalar(text), pattern).as_py())


def _validate_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not has_match(pattern, _replace_surrogates(instance)):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _validate_pattern_properties(
    validator: Any, of: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in of.items():
        for key, value in instance.items():
            if has_match(pattern, _replace_surrogates(key)):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can hold and RE2 cannot read, by question
    marks."""
    return text.encode("utf-8", "replace").decode()


def _check_pattern(where: str, pattern: str) -> None:
    try:
        has_match(pattern, "")
    except pa.ArrowInvalid as fault:
        raise UserError(
            where,
            f"has the pattern {pattern[:80]!r}, which cannot be matched in bounded time ({fault})",
            "write it without look-ahead, look-behind, back-references and large repetitions",
        ) from None


def _iterate_patterns(schema: Any) -> Iterator[str]:
    for part in _iterate_parts(schema):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        if isinstance(part.get("patternProperties"), dict):
            yield from part["patternProperties"]


def _iterate_parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Iterate over every mapping in a schema, also within data such as `enum`."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, dict | list):
            yield from _iterate_parts(inner)


def _check_references(where: str, schema: dict[str, Any]) -> None:
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    lookup = Registry().with_resource("", resource).resolver().lookup
    for part in _iterate_parts(schema):
        for reference in _list_references(part):
            if not reference.startswith("#"):
                raise UserError(
                    where,
                    f"refers to {reference[:200]!r}",
                    "put what it refers to into the same file, under $defs",
                )
            try:
                lookup(reference).contents  # noqa: B018
            except (referencing.exceptions.Unresolvable, LookupError, TypeError, ValueError):
                raise UserError(
                    where, f"refers to {reference[:200]!r}, which is not there", "fix it"
                ) from None
    for part in _iterate_parts(schema):
        _check_that_it_ends(where, part, lookup)


def _list_references(part: Mapping[str, Any]) -> list[str]:
    return [str(part[key]) for key in ("$ref", "$dynamicRef") if key in part]


def _check_that_it_ends(where: str, schema: dict[str, Any], lookup: Any) -> None:
    """Refuse references that lead back to themselves without consuming a part of the value."""
    left: list[tuple[Any, tuple[str, ...]]] = [(schema, ())]
    while left:
        part, way = left.pop()
        if not isinstance(part, dict):
            continue
        for reference in _list_references(part):
            if reference in way:
                raise UserError(where, f"refers to {reference!r} from within itself", "fix it")
            left.append((lookup(reference).contents, (*way, reference)))
        for key in _IN_PLACE:
            inner = part.get(key)
            left += [(one, way) for one in (inner if isinstance(inner, list) else [inner])]
