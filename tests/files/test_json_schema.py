"""Schemas of replies: what cannot serve is refused before the LLM is asked."""

import json
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.files.json_schema import make_validator, read_schema

FILE = Path("mine.json")


def wrong(name, schema, says):
    mark = pytest.mark.bad_input("schema of replies", name, f"refused: {says}")
    return pytest.param(schema, says, id=name, marks=mark)


def of(value):
    return {"type": "object", "properties": {"q": value}}


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        wrong("a pattern that is a number", of({"pattern": 5}), "is not a JSON schema"),
        wrong("a pattern that is none", of({"pattern": "("}), "cannot be matched|is not a JSON"),
        wrong("look-behind in a pattern", of({"pattern": "(?<=a)b"}), "in bounded time"),
        wrong("back-reference in a pattern", of({"pattern": "(a)\\1"}), "in bounded time"),
        wrong("a reference that leads nowhere", of({"$ref": "#/$defs/none"}), "which is not there"),
        wrong("a reference to an anchor that is missing", of({"$ref": "#a"}), "is not there"),
        wrong("a reference to another file", of({"$ref": "other.json"}), "refers to 'other.json'"),
        wrong("a reference to an address", of({"$ref": "http://x.org/s"}), "refers to 'http://x"),
        wrong(
            "a reference to itself",
            {"$defs": {"a": {"$ref": "#/$defs/a"}}, **of({"$ref": "#/$defs/a"})},
            "from within itself",
        ),
        wrong(
            "two references to each other",
            {
                "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}},
                **of({"$ref": "#/$defs/a"}),
            },
            "from within itself",
        ),
        wrong("null", None, "not a JSON schema of an object"),
        wrong("properties that are a list", {"properties": []}, "is not a JSON schema"),
        wrong("required that is a number", {"required": 5}, "is not a JSON schema"),
        wrong("$schema that is a number", {"$schema": 5}, "is not a JSON schema"),
        wrong("$schema that is a list", {"$schema": []}, "is not a JSON schema"),
    ],
)
def test_schema_that_cannot_serve_is_refused(schema, says):
    with pytest.raises(UserError, match=says) as fault:
        read_schema(FILE, json.dumps(schema))
    assert fault.value.where.startswith("mine.json")


def test_tree_may_refer_to_itself():
    tree = {"properties": {"q": {"type": "string"}, "children": {"items": {"$ref": "#"}}}}
    validator = make_validator(read_schema(FILE, json.dumps(tree)))
    assert validator.is_valid({"q": "a", "children": [{"q": "b", "children": []}]})
    assert not validator.is_valid({"q": "a", "children": [{"q": 5}]})


@pytest.mark.bad_input(
    "schema of replies", "a pattern that runs away: (a+)+$", "matched in time linear in the reply"
)
def test_pattern_that_runs_away_does_not():
    schema = of({"type": "string", "pattern": "^(a+)+$"}) | {"patternProperties": {"^(b+)+$": True}}
    validator = make_validator(read_schema(FILE, json.dumps(schema)))
    assert not validator.is_valid({"q": "a" * 50_000 + "!"})
    assert validator.is_valid({"q": "aaa", "b" * 50_000 + "!": 1})


def test_patterns_hold_a_reply_to_its_form():
    schema = of({"pattern": "^[A-Z]"}) | {
        "patternProperties": {"^n": {"type": "number"}},
        "additionalProperties": False,
    }
    validator = make_validator(read_schema(FILE, json.dumps(schema)))
    assert validator.is_valid({"q": "Why?", "n1": 5})
    assert not validator.is_valid({"q": "why?"})
    assert not validator.is_valid({"q": "Why?", "n1": "five"})
    assert not validator.is_valid({"q": "Why?", "x": 5})
    assert not validator.is_valid({"q": "half a pair \ud83d", "x": 5})
