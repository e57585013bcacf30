"""Explain each key of a recipe as text, read from the JSON schema of the recipe."""

import copy
import json
import re
import textwrap
from functools import cache
from typing import Any

import yaml

from distill.errors import UserError
from distill.recipe.explain import find_nearest_key, list_known_keys
from distill.recipe.load import Recipe

JsonSchema = dict[str, Any]
"""A JSON schema, or a part of one."""

_END = re.compile(r"\. (?=[A-Z])")
"""Of a sentence."""
_WIDTH = 96
"""Characters per line."""
_TYPES = {
    "boolean": "true or false",
    "integer": "integer",
    "null": "null",
    "number": "number",
    "string": "text",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "must match {}",
    "minItems": "items: at least {}",
    "maxItems": "items: at most {}",
}


def explain_key(key: str) -> str:
    """Return type, default, allowed values and description of a key such as train.soup, and the
    keys of a section such as train; of an empty name, all sections.

    >>> explain_key("train.epochs").splitlines()[0]
    'train.epochs'

    Raises:
        UserError: if the recipe has no such key; one that is much like it is named.
    """
    schema = find_key(key)
    parts = [_describe(key, schema)] if key else []
    section = _find_section(schema)
    if section is not None:
        prefix = f"{key}." if key else ""
        parts += [_describe(prefix + name, one) for name, one in section["properties"].items()]
    return "\n\n".join(parts)


def write_json_schema() -> str:
    """Write the JSON schema of a recipe, by which an editor completes and checks its keys.

    >>> json.loads(write_json_schema())["title"]
    'Recipe'
    """
    schema = copy.deepcopy(_make_recipe_schema())
    execution = schema["properties"]["execution"]
    mode = schema["$defs"]["Execution"]["properties"]["mode"]
    # `execution: ray` is short for its mode.
    execution["anyOf"] = [{"$ref": execution.pop("$ref")}, {"enum": mode["enum"]}]
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | schema, indent=2, ensure_ascii=False)


def write_commented_recipe(recipe: Recipe) -> str:
    """Write every key with its value, as YAML that `load_recipe` reads back; the first sentence of
    what `distill explain` says of a key stands above it.

    >>> written = write_commented_recipe(Recipe(name="mine")).splitlines()
    >>> written[written.index("seed: 13") - 1].startswith("# Seed of all random choices")
    True
    """
    return _write_section("", recipe.model_dump(mode="json"))


def _write_section(prefix: str, values: dict[str, Any]) -> str:
    """Write the keys of a section, without an indent of its own."""
    lines: list[str] = []
    for name, value in values.items():
        schema = find_key(prefix + name)
        sentence = _END.split(" ".join(schema["description"].split()))[0].rstrip(".")
        lines.append(_fill(sentence, "# ", "# "))
        if isinstance(value, dict) and value and _find_section(schema) is not None:
            inner = _write_section(f"{prefix}{name}.", value)
            lines += [f"{name}:", textwrap.indent(inner, "  ").rstrip("\n")]
        else:
            lines.append(yaml.safe_dump({name: value}, allow_unicode=True, width=_WIDTH).rstrip())
    return "\n".join(lines) + "\n"


def find_key(key: str) -> JsonSchema:
    """Find the schema of a key.

    Raises:
        UserError: if the recipe has no such key; one that is much like it is named.
    """
    schema = _make_recipe_schema()
    for name in key.split(".") if key else ():
        section = _find_section(schema)
        if section is None or name not in section["properties"]:
            nearest = find_nearest_key(key, list_known_keys(Recipe))
            raise UserError(
                f"key {key[:100]}",
                "is not a key of the recipe"
                + (f"; the nearest one is {nearest}" if nearest else ""),
                "`distill explain` lists the sections, `distill explain SECTION` its keys",
            )
        schema = section["properties"][name]
    return schema


@cache
def _make_recipe_schema() -> JsonSchema:
    return Recipe.model_json_schema()


def _find_section(schema: JsonSchema) -> JsonSchema | None:
    """Return the section that a key is, may be (or null), or is a list of."""
    if "properties" in schema:
        return schema
    if "$ref" in schema:
        return dict(_make_recipe_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    for inner in (*schema.get("anyOf", []), schema.get("items")):
        if inner and (section := _find_section(inner)) is not None:
            return section
    return None


def _describe(key: str, schema: JsonSchema) -> str:
    facts = [f"type: {_describe_type(schema)}"]
    if "$ref" not in schema:
        facts.append(f"default: {_describe_default(schema)}")
    if allowed := _describe_allowed(schema):
        facts.append(f"allowed: {allowed}")
    lines = [_fill(fact, "    ", "        ") for fact in facts]
    description = " ".join(schema["description"].split())
    return "\n".join([key, *lines, _fill(description, "  ", "  ")])


def _fill(text: str, first: str, rest: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _describe_type(schema: JsonSchema) -> str:
    if "$ref" in schema:
        return "section"
    if "anyOf" in schema:
        return ", or ".join(_describe_type(one) for one in schema["anyOf"])
    if "prefixItems" in schema:
        return "list of " + ", ".join(_describe_type(one) for one in schema["prefixItems"])
    if schema.get("type") == "array":
        return f"list of {_describe_type(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        kind = _describe_type(values) if isinstance(values, dict) else "any value"
        return f"mapping of names to {kind}"
    if "const" in schema:
        return f"the word {schema['const']}"
    return _TYPES[schema["type"]] if "type" in schema else "any value"


def _describe_default(schema: JsonSchema) -> str:
    if "default" not in schema:
        return "none, it must be given"
    return json.dumps(schema["default"], ensure_ascii=False)


def _describe_allowed(schema: JsonSchema) -> str:
    """Return the values or the limits of a key, also of the items or names that it holds."""
    own = [", ".join(schema["enum"])] if "enum" in schema else []
    own += [words.format(schema[name]) for name, words in _BOUNDS.items() if name in schema]
    inner = [*schema.get("anyOf", []), schema.get("items"), schema.get("propertyNames")]
    values_of = schema.get("additionalProperties")
    inner.append(values_of if isinstance(values_of, dict) else None)
    own += [allowed for one in inner if one and (allowed := _describe_allowed(one))]
    return "; ".join(own)
