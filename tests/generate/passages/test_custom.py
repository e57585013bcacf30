"""A user's own prompt and schema."""

import json

import jsonschema
import pytest

from distill.errors import UserError
from distill.generate.passages.conditions import GenerationConditions
from distill.generate.passages.custom import load_custom
from distill.generate.passages.method import open_method
from distill.generate.settings import WritingSettings
from distill.recipe import load_recipe

PASSAGE = {"passage_id": "p", "title": "Swifts", "text": "They sleep in flight.", "source": ""}
CONDITIONS = GenerationConditions("search", 0, "a nurse", None, None, "de")
SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string", "minLength": 3}, "t": {"type": "string"}},
    "required": ["q"],
    "additionalProperties": False,
}


def load_custom_of(recipe):
    return load_custom(recipe.generate, recipe.folder)


def recipe_in(folder, prompt="{{ passage }}", schema=SCHEMA, **custom):
    (folder / "p.jinja").write_text(prompt)
    (folder / "s.json").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    (folder / "r.yaml").write_text("name: r\n")
    values = {"prompt": "p.jinja", "json_schema": "s.json", "query": "q", **custom}
    sets = [f"generate.custom.{key}={value}" for key, value in values.items()]
    sets += ["generate.methods=[custom]", "generate.languages=[en, de]"]
    return load_recipe(folder / "r.yaml", sets)


def test_prompt_sees_the_passage_and_the_conditions(tmp_path):
    source = "{{ title }}|{{ text }}|{{ passage }}|{{ task_type }}|{{ persona }}|{{ language }}"
    method = open_method(WritingSettings.select(recipe_in(tmp_path, source)))
    assert method.render_prompt(PASSAGE, CONDITIONS, chat=True) == (
        "Swifts|They sleep in flight.|Swifts They sleep in flight.|search|a nurse|German"
    )


def test_schema_reaches_engines_that_constrain(tmp_path):
    method = load_custom_of(recipe_in(tmp_path))
    assert json.loads(method.make_sampling(chat=True, constrain=True).json_schema) == SCHEMA
    assert method.make_sampling(chat=True, constrain=False).json_schema is None


@pytest.mark.parametrize(
    ("output", "query"),
    [
        ('{"q": "how swifts sleep"}', "how swifts sleep"),
        ('```json\n{"q": "how swifts sleep"}\n```', "how swifts sleep"),
        (' {"q":\n"how\\nswifts <|im_end|>"}\n', "how swifts < |im_end|>"),
        ('{"q": "half a pair \\ud83d"}', "half a pair"),
    ],
)
def test_reply_that_fits_is_read(tmp_path, output, query):
    method = load_custom_of(recipe_in(tmp_path, default_task="Find it."))
    assert method.parse(output, True) == ("", query, None)
    assert method.task == "Find it."


def test_task_is_read_where_a_property_is_named(tmp_path):
    method = load_custom_of(recipe_in(tmp_path, task="t"))
    assert method.parse('{"q": "how swifts sleep", "t": "Find birds."}', True).task == "Find birds."
    assert method.parse('{"q": "how swifts sleep"}', True).reason == "no text in 't'"


@pytest.mark.bad_input(
    "replies of the LLM", "not JSON, NaN, 100,000 brackets, another form", "dropped with the reason"
)
@pytest.mark.parametrize(
    ("output", "finished", "reason"),
    [
        ('{"q": "how swifts sleep"}', False, "unfinished"),
        ('Here it is: {"q": "how swifts sleep"}', True, "not JSON"),
        ('{"q": NaN}', True, "not JSON"),
        ("[" * 100_000, True, "not JSON"),
        ("9" * 10_000, True, "not JSON"),
        ("[]", True, "does not fit the schema: $, type"),
        ('{"q": 3}', True, "does not fit the schema: $.q, type"),
        ('{"q": "ab"}', True, "does not fit the schema: $.q, minLength"),
        ('{"t": "Find it."}', True, "does not fit the schema: $, required"),
        ('{"q": "...", "t": ""}', True, "malformed"),
    ],
)
def test_reply_that_does_not_fit_has_its_reason(tmp_path, output, finished, reason):
    method = load_custom_of(recipe_in(tmp_path))
    assert method.parse(output, finished).reason == reason


@pytest.mark.bad_input("schema of replies", "no property for the query, other files", "refused")
@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON schema of an object"),
        ({"type": "objekt"}, "is not a JSON schema: "),
        ({"type": "object"}, "does not describe the property 'q'"),
        ({"properties": {"query": {"type": "string"}}}, "does not describe the property 'q'"),
        ({"properties": {"q": {"type": "array"}}}, "property 'q' is not a text"),
        ({"properties": {"q": {"$ref": "http://example.org/q"}}}, "refers to 'http://example.org"),
        ({"properties": {"q": {"anyOf": [{"$ref": "q.json#/a"}]}}}, r"refers to 'q\.json"),
    ],
)
def test_schema_that_cannot_serve_is_refused(tmp_path, schema, said):
    with pytest.raises(UserError, match=said):
        load_custom_of(recipe_in(tmp_path, schema=schema))


def test_packaged_example_serves(tmp_path):
    (tmp_path / "r.yaml").write_text("name: r\n")
    recipe = load_recipe(
        tmp_path / "r.yaml",
        [
            "generate.methods=[custom]",
            "generate.custom={prompt: prompts/custom-example.jinja, "
            "json_schema: prompts/custom-example.schema.json, task: task}",
        ],
    )
    method = load_custom_of(recipe)
    prompt = method.render_prompt(PASSAGE, CONDITIONS, chat=True)
    assert "Passage: Swifts They sleep in flight.\n" in prompt
    example = next(line for line in prompt.splitlines() if line.startswith("{"))
    jsonschema.validate(json.loads(example), json.loads(method.schema))
    assert method.parse(example, True).query == "when to sow carrots in sandy soil"
