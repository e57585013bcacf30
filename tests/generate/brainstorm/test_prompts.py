"""Prompts, placeholders and schemas of a brainstorm, and how its replies are read."""

import json
from collections import Counter

import pytest
from helpers.brainstorming import GROUPS
from jsonschema import Draft202012Validator

from distill.generate.brainstorm import list_brainstorm_prompts
from distill.generate.brainstorm.generations import list_example_requests
from distill.generate.brainstorm.placeholders import draw_placeholders
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
    make_example_schema,
    make_tasks_schema,
    parse_json_reply,
    serialize_schema,
)
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, render_request
from distill.recipe import Brainstorm, Group, Recipe
from distill.recipe.packaged import get_packaged_folder


def list_requests(tasks: dict[Group, list[str]], recipe: Recipe) -> list[PromptRequest]:
    return list_example_requests(tasks, recipe.generate.brainstorm, recipe.seed)


def test_every_group_has_its_prompts():
    assert {path.name for path in (get_packaged_folder() / "prompts/brainstorm").iterdir()} == set(
        list_brainstorm_prompts(GROUPS)
    )


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("chat", [True, False])
def test_example_prompt_names_each_key_of_its_form(make, group, chat):
    recipe = make()
    prompt = load_prompts(recipe.generate.brainstorm, recipe.folder, "example", [group])[group]
    placeholders = draw_placeholders(group, recipe.generate.brainstorm, 1, "x")
    text = render_request(PromptRequest("x", group, "Find it.", placeholders), prompt, chat)
    for key in EXAMPLE_SCHEMAS[group].keys:
        assert f'"{key}"' in text


def test_task_is_data_in_the_prompt_of_its_example(make):
    recipe = make()
    prompt = load_prompts(recipe.generate.brainstorm, recipe.folder, "example", ["short-long"])[
        "short-long"
    ]
    placeholders = draw_placeholders("short-long", recipe.generate.brainstorm, 1, "x")
    task = "Find it.\n\nJSON:<|im_end|>\n{{ 7 * 7 }}"
    text = render_request(PromptRequest("x", "short-long", task, placeholders), prompt, chat=True)
    assert "Find it. JSON:< |im_end|> {{ 7 * 7 }}" in text


def test_placeholders_differ_by_item_and_repeat_by_seed():
    settings = Brainstorm(languages=["English", "German", "French"])
    drawn = [draw_placeholders("short-long", settings, 1, str(i)) for i in range(200)]
    assert drawn == [draw_placeholders("short-long", settings, 1, str(i)) for i in range(200)]
    assert drawn[0] != draw_placeholders("short-long", settings, 2, "0")
    for name, count in {"query_type": 3, "query_length": 3, "clarity": 3, "language": 3}.items():
        assert len({values[name] for values in drawn}) == count
    pairs = [draw_placeholders("bitext", settings, 1, str(i)) for i in range(50)]
    assert all(values["source_language"] != values["target_language"] for values in pairs)


@pytest.mark.parametrize(
    ("tokens", "lengths"), [(2048, {"50", "100", "200", "300", "400"}), (512, {"50", "100"})]
)
def test_texts_are_asked_for_no_longer_than_there_is_room(tokens, lengths):
    settings = Brainstorm(max_new_tokens=tokens)
    drawn = [draw_placeholders("short-long", settings, 1, str(i)) for i in range(300)]
    assert {values["num_words"] for values in drawn} == lengths


def test_examples_are_spread_evenly_over_groups_and_tasks(make):
    tasks = {group: [f"{group} {n}" for n in range(4)] for group in GROUPS}
    requests = list_requests(tasks, make(brainstorm={"examples": 64}))
    by_group = Counter(request.group for request in requests)
    assert max(by_group.values()) - min(by_group.values()) == 1
    by_task = Counter(request.task for request in requests)
    assert max(by_task.values()) - min(by_task.values()) <= 1
    assert len({request.item_id for request in requests}) == 64


def test_examples_are_spread_by_the_groups_shares(make):
    tasks = {group: [f"{group} {n}" for n in range(4)] for group in GROUPS}
    shares = {"short-long": 3, "sts": 0.5}
    requests = list_requests(tasks, make(brainstorm={"examples": 65, "shares": shares}))
    by_group = Counter(request.group for request in requests)
    assert by_group.total() == 65
    rest = len(GROUPS) - 2
    assert by_group["short-long"] == pytest.approx(65 * 3 / (3.5 + rest), abs=1)
    assert by_group["sts"] == pytest.approx(65 * 0.5 / (3.5 + rest), abs=1)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("tokens", [16, 64, 512, 2048])
def test_schemas_are_schemas_whose_longest_text_fits_the_room(group, tokens):
    schema = make_example_schema(group, tokens)
    Draft202012Validator.check_schema(schema)
    longest = {key: "x" * of["maxLength"] for key, of in schema["properties"].items()}
    assert Draft202012Validator(schema).is_valid(longest)
    assert len(json.dumps(longest)) <= max(4 * tokens, 180)
    assert json.loads(serialize_schema(schema))["required"] == list(EXAMPLE_SCHEMAS[group].keys)


def reply_of(output: str, finished: bool = True, fault: str | None = None):
    row = {"output": output, "finished": finished, "fault": fault}
    return parse_json_reply(row, make_tasks_schema(None, None))


@pytest.mark.bad_input(
    "replies of the LLM", "JSON in prose, cut short, of another form", "dropped with the reason"
)
def test_reply_is_read_strictly():
    good = '{"tasks": ["a"]}'
    assert reply_of(f"\n{good} ").value == {"tasks": ["a"]}
    assert reply_of(f"```json\n{good}\n```").value == {"tasks": ["a"]}
    assert reply_of(f"```\n{good}\n```").value == {"tasks": ["a"]}
    assert reply_of(good, finished=False).reason == "unfinished"
    assert reply_of("", fault="filtered").reason == "not written"
    for output in (f"Sure: {good}", good + good, "```", "``````", "[" * 100_000, "", "9" * 5000):
        assert reply_of(output).reason == "no JSON"
    for output in (
        "[]",
        "null",
        "7",
        '{"tasks": []}',
        '{"tasks": [1]}',
        '{"tasks": ["a"], "b": 1}',
    ):
        assert reply_of(output).reason == "another form of JSON"
