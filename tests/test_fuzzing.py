"""Whatever is put into a parser, it gives a value or the error for bad input: no other exception,
and no waiting. The inputs are the same in every run."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from distill.corpus.readers.beir import read_beir
from distill.corpus.readers.jsonl import open_jsonl
from distill.corpus.readers.rows import Columns
from distill.errors import UserError
from distill.estimate.prices import Prices
from distill.files.json_schema import make_validator, read_schema
from distill.files.read import decode, parse_json
from distill.files.read_yaml import parse_yaml
from distill.generate.brainstorm.schemas import make_example_schema, parse_json_reply
from distill.generate.labelled.rows import read_labelled
from distill.generate.passages.few_shot import load_pool
from distill.generate.passages.reply import parse_reply
from distill.llm.judge import parse_grade
from distill.llm.prompts import load_prompt
from distill.recipe import Recipe, load_recipe
from distill.relabel.rankers.listwise import read_order
from distill.text.sanitize import sanitize_for_prompt
from distill.text.templates import check_template, fill_template

EXAMPLES = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

WORDS = st.sampled_from(
    [
        *(
            "name: a\n",
            "seed: ",
            "corpus:",
            "  path: x\n",
            "relabel: {top_k: ",
            "}",
            "[",
            "]",
            "- ",
        ),
        *(
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "!!python/object:x ",
            "? ",
            "|",
            ">",
            "%YAML 1.1\n",
            "---\n",
        ),
        *(
            ".inf",
            ".nan",
            "1e999",
            "no",
            "null",
            "~",
            "2024-13-01",
            "0x",
            "0o9",
            "1:60",
            "²",
            "9" * 5000,
        ),
        *(
            '"',
            "'",
            "\\ud800",
            "\\0",
            "\x00",
            "\ufeff",
            "\ud800",
            "#",
            ": ",
            "\t",
            "\r",
            "\u2028",
            "\x85",
        ),
        *(
            "{query}",
            "{query.x}",
            "{",
            "}}",
            "{{ a }}",
            "{% for",
            "%}",
            "search:\n",
            "passage: p\n",
        ),
        *(
            "models:\n",
            "currency: x\n",
            "  m: {input: 1, output: ",
            "q1\td1\t1\n",
            "query-id\tcorpus-id",
        ),
        *(
            '{"_id": "a", "text": "b"}\n',
            '{"$ref": "#"}',
            '"pattern": "(a+)+$"',
            "Task: x\nQuery: y",
        ),
        *("[1] > [2]", "[" + "9" * 5000 + "]", "7/10", "```json\n", "```", "[" * 500, "{" * 500),
    ]
)
TEXTS = st.one_of(
    st.text(), st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=12).map("".join)
)
BYTES = st.one_of(st.binary(), TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [10**30, -1, 0, "²", "", "no", "cuda:7", "{query.x}{query}", "${HOME}", "\ud800"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def ends(work, *arguments):
    """The value, or None where the error is the one for bad input, with its three parts."""
    refused = None
    try:
        return work(*arguments)
    except UserError as fault:
        refused = fault
    assert all((refused.where, refused.what, refused.remedy))
    str(refused).encode()
    return None


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@EXAMPLES
@given(TEXTS)
def test_yaml(text):
    ends(parse_yaml, text, "f.yaml")


@EXAMPLES
@given(TEXTS, st.booleans())
def test_json(text, checked):
    ends(parse_json, text, "f.json", "mend it", checked)


@EXAMPLES
@given(VALUES)
def test_json_of_any_value_is_read_or_refused(value):
    text = json.dumps(value)
    read = ends(parse_json, text, "f.json", "mend it")
    assert read is None or json.loads(text) == read


@EXAMPLES
@given(BYTES)
def test_bytes(data):
    ends(decode, data, "f")


@EXAMPLES
@given(BYTES)
def test_recipes(folder, data):
    (folder / "r.yaml").write_bytes(data)
    ends(load_recipe, folder / "r.yaml")


def keys(section=Recipe, prefix=""):
    for name, info in section.model_fields.items():
        yield prefix + name
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from keys(info.annotation, f"{prefix}{name}.")


@settings(EXAMPLES, max_examples=800)
@given(st.sampled_from(sorted(keys())), VALUES)
def test_recipe_with_any_value_of_any_key(folder, key, value):
    values = {"name": "a"}
    inner = values
    *sections, last = key.split(".")
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    (folder / "r.yaml").write_text(json.dumps(values))
    recipe = ends(load_recipe, folder / "r.yaml")
    assert recipe is None or json.dumps(recipe.model_dump(mode="json"), allow_nan=False)


@EXAMPLES
@given(st.one_of(TEXTS, st.tuples(st.sampled_from(sorted(keys())), TEXTS).map("=".join)))
def test_settings_of_the_command_line(item):
    ends(load_recipe, None, ["name=a", item])


@EXAMPLES
@given(BYTES)
def test_rows_of_a_corpus(folder, data):
    (folder / "c.jsonl").write_bytes(b'{"_id": "x", "text": "y"}\n' + data)
    ends(lambda: list(open_jsonl(folder / "c.jsonl", Columns()).read()))


@EXAMPLES
@given(VALUES, VALUES)
def test_rows_of_any_values(folder, one, two):
    rows = [{"_id": one, "text": two}, {"title": one, "text": two}, one]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ends(lambda: list(open_jsonl(folder / "c.jsonl", Columns()).read()))


@EXAMPLES
@given(BYTES)
def test_few_shot_pools(folder, data):
    (folder / "pool.yaml").write_bytes(b"search:\n" + data)
    (folder / "r.yaml").write_text("name: a\ngenerate: {examples: pool.yaml}")
    recipe = load_recipe(folder / "r.yaml")
    ends(load_pool, recipe.generate, recipe.folder)


@EXAMPLES
@given(VALUES)
def test_few_shot_pools_of_any_shape(folder, value):
    (folder / "pool.yaml").write_text(json.dumps({"search": value}))
    (folder / "r.yaml").write_text("name: a\ngenerate: {examples: pool.yaml}")
    recipe = load_recipe(folder / "r.yaml")
    ends(load_pool, recipe.generate, recipe.folder)


@EXAMPLES
@given(
    st.one_of(
        BYTES, VALUES.map(lambda value: json.dumps({"currency": "x", "models": value}).encode())
    )
)
def test_prices(folder, data):
    (folder / "prices.yaml").write_bytes(data)
    ends(Prices, folder / "prices.yaml")


@EXAMPLES
@given(BYTES)
def test_judgements(folder, data):
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "c"}\n')
    (folder / "qrels" / "test.tsv").write_bytes(data)
    ends(read_beir, folder)


@EXAMPLES
@given(st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]), BYTES)
def test_labelled_sets(folder, suffix, data):
    file = folder / f"set{suffix}"
    file.write_bytes((b"text,label\n" if suffix == ".csv" else b"") + data)
    ends(lambda: list(read_labelled(file, ["text", "label"])))


@EXAMPLES
@given(BYTES)
def test_prompts(folder, data):
    (folder / "p.jinja").write_bytes(data)
    ends(lambda: load_prompt("p.jinja", folder, 1).render(passage="a", query="b"))


@EXAMPLES
@given(VALUES)
def test_schemas_of_replies(value):
    text = json.dumps({"type": "object", "properties": {"q": value}})
    schema = ends(read_schema, Path("s.json"), text)
    if schema is not None:
        make_validator(schema).is_valid({"q": "a"})


KEYWORDS = st.sampled_from(
    [
        "$ref",
        "$defs",
        "pattern",
        "patternProperties",
        "anyOf",
        "not",
        "type",
        "items",
        "$schema",
        "$id",
        "$anchor",
        "required",
        "properties",
        "if",
        "const",
        "$dynamicRef",
        "enum",
        "format",
        "minLength",
    ]
)
SCHEMAS = st.recursive(
    SCALARS
    | st.sampled_from(
        ["#", "#/$defs/a", "string", "object", "^(a+)+$", "(?<=a)", "#/properties/q", "http://x"]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYWORDS, inner, max_size=3),
    max_leaves=8,
)


@EXAMPLES
@given(SCHEMAS)
def test_schemas_of_keywords(value):
    schema = ends(
        read_schema, Path("s.json"), json.dumps({"properties": {"q": value}, "$defs": {"a": value}})
    )
    if schema is not None:
        make_validator(schema).is_valid({"q": "a"})
        make_validator(schema).is_valid({"q": {"type": ["a"]}})


@EXAMPLES
@given(TEXTS, st.sampled_from(["task, query", "query, task", "query"]))
def test_replies_with_queries(text, order):
    read = parse_reply(text, True, (), order)
    assert read.reason or (read.query and "\n" not in read.query)


@EXAMPLES
@given(TEXTS, st.sampled_from(["short-long", "sts"]))
def test_replies_that_are_brainstormed(text, group):
    row = {"fault": None, "finished": True, "output": text}
    read = parse_json_reply(row, make_example_schema(group, None))
    assert read.reason or isinstance(read.value, dict)


@EXAMPLES
@given(TEXTS, st.integers(1, 20))
def test_orders_of_lists(text, count):
    order = read_order(text, count)
    assert order is None or sorted(order) == list(range(count))


@EXAMPLES
@given(TEXTS)
def test_grades(text):
    grade = parse_grade(text, 10.0)
    assert grade is None or 0 <= grade <= 10


@EXAMPLES
@given(TEXTS)
def test_text_as_data(text):
    once = sanitize_for_prompt(text)
    assert sanitize_for_prompt(once) == once
    once.encode()


@EXAMPLES
@given(TEXTS)
def test_templates(text):
    try:
        check_template(text, ("task", "query"), "key")
    except ValueError:
        return
    fill_template(text, task="t", query="{query.x}")
