"""Synthesis without a corpus: tasks first, then one example of each."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from distill.errors import UserError
from distill.generate.brainstorm import list_brainstorm_prompts, make_brainstorm
from distill.generate.brainstorm.generations import list_example_requests
from distill.generate.brainstorm.placeholders import draw_placeholders
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
    make_example_schema,
    make_tasks_schema,
    parse_json_reply,
    serialize_schema,
)
from distill.generate.brainstorm.tasks import find_same_meaning
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, render_request
from distill.generate.settings import WritingSettings
from distill.llm.lazy import LazyLLM
from distill.llm.protocol import LLM, Completion, Sampling
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import Brainstorm, Group, Recipe
from distill.recipe.packaged import get_packaged_folder
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import BRAINSTORM, DROPPED, EXAMPLES, TASKS, Row, read_rows, read_shard
from distill.tasks.decontaminate import list_evaluation_sets

GROUPS: list[Group] = list(EXAMPLE_SCHEMAS)
WORDS = ["heart", "copper", "glacier", "bees", "yeast", "tides", "bridges", "owl", "salt", "chess"]


def well_formed(prompt: str, seed: int, sampling: Sampling) -> str:
    """Writes what the schema asks for, of words drawn by the seed."""
    draw = random.Random(f"{prompt}{seed}")
    schema = json.loads(sampling.json_schema or "")

    def text() -> str:
        return " ".join(draw.sample(WORDS, 4))

    if "tasks" in schema["properties"]:
        count = schema["properties"]["tasks"]["maxItems"]
        return json.dumps({"tasks": [f"Find {text()}." for _ in range(count)]})
    return json.dumps({key: text() for key in schema["properties"]})


class Scripted:
    """An LLM for the paths that depend on what exactly is written."""

    can_score = False
    supports_regex = supports_schema = True
    name = "scripted"

    def __init__(
        self, reply: Callable[[str, int, Sampling], str] = well_formed, has_chat: bool = True
    ) -> None:
        self.reply = reply
        self.has_chat = has_chat
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        self.asked: list[tuple[str, Sampling]] = []

    def generate(self, prompts, seeds, sampling):
        self.asked += [(prompt, sampling) for prompt in prompts]
        self.tokens["new"] += len(prompts)
        return [
            Completion(self.reply(prompt, seed, sampling), True)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def score(self, requests):
        raise NotImplementedError


def recipe_of(encoder: Path, llm: Path, /, **settings: Any) -> Recipe:
    generate = settings.pop("generate", {})
    llm_settings = settings.pop("llm", {})
    brainstorm = {
        "examples": 26,
        "calls": 2,
        "tasks_per_call": 3,
        "shard_size": 3,
        "same_task": 1.0,
        "languages": ["English", "German"],
        "groups": list(get_args(Group)),
        **settings.pop("brainstorm", {}),
    }
    recipe = Recipe.model_validate(
        {
            "name": "storm",
            "seed": 5,
            "llm": {"model": str(llm), "dtype": "float32", "device": "cpu", **llm_settings},
            "generate": {"methods": ["brainstorm"], "brainstorm": brainstorm, **generate},
            "retriever": {"model": str(encoder), "max_tokens": 32, "device": "cpu"},
            "train": {"objective": {"infonce": 1}},
            **settings,
        }
    )
    recipe._folder = get_packaged_folder()
    return recipe


@pytest.fixture
def make(encoder_folder, llm_folder) -> Callable[..., Recipe]:
    return lambda **settings: recipe_of(encoder_folder, llm_folder, **settings)


def make_examples(run: Run, recipe: Recipe, llm: LazyLLM) -> Stage:
    filters = recipe.generate.filters
    sets = list_evaluation_sets(recipe.evaluate, filters, None, recipe.seed, None)
    return make_brainstorm(run, WritingSettings.select(recipe), recipe.retriever, llm, sets)


def list_requests(tasks: dict[Group, list[str]], recipe: Recipe) -> list[PromptRequest]:
    return list_example_requests(tasks, recipe.generate.brainstorm, recipe.seed)


def brainstorm(folder: Path, recipe: Recipe, llm: LLM) -> Stage:
    with Run(folder) as run:
        return make_examples(run, recipe, LazyLLM(lambda: llm, served=True))


def count_closings(folder: Path, recipe: Recipe) -> list[str]:
    """Runs the brainstorm with a local LLM that is open; a mark for each time that it is closed."""
    closings: list[str] = []
    engine = Scripted()
    engine.close = lambda: closings.append("closed")
    with Run(folder) as run:
        llm = LazyLLM(lambda: engine)
        llm()
        make_examples(run, recipe, llm)
    return closings


def test_brainstorm_closes_a_local_llm_only_where_tasks_are_embedded(tmp_path, make):
    mixed = make(brainstorm={"groups": ["short-short", "sts"], "examples": 2, "calls": 1})
    assert count_closings(tmp_path / "mixed", mixed) == ["closed"]
    assert count_closings(tmp_path / "mixed", mixed) == []
    symmetric = make(brainstorm={"groups": ["sts"], "examples": 2})
    assert count_closings(tmp_path / "symmetric", symmetric) == []


def rows(stage: Stage, name: str, table: Any) -> list[Row]:
    return list(read_rows(table, stage.folder.parent / name))


def dropped(stage: Stage, name: str) -> list[tuple[str, str]]:
    book = stage.folder.parent / name / ".stage"
    return [
        (row["item_id"], row["reason"])
        for path in sorted(book.glob("dropped-*.parquet"))
        for row in read_shard(DROPPED, path)
    ]


def figures_of(stage: Stage, name: str) -> dict[str, Any]:
    return json.loads((stage.folder.parent / name / ".stage" / "manifest.json").read_text())


# --- the whole way --------------------------------------------------------------------------------


def test_group_brings_examples_of_its_form(tmp_path, make):
    stage = brainstorm(tmp_path / "run", make(), Scripted())
    examples = stage.read_rows(EXAMPLES)
    written = {row["item_id"]: row for row in rows(stage, "brainstorm-generations", BRAINSTORM)}
    assert Counter(row["task_type"] for row in examples) == {
        "short-long": 5,
        "long-short": 5,
        "short-short": 4,
        "long-long": 4,
        "sts": 4,
        "bitext": 4,
    }
    assert [row["query_id"] for row in examples] == [f"brainstorm~{n}" for n in range(26)]
    for row in examples:
        value = json.loads(written[row["query_id"]]["output"])
        form = EXAMPLE_SCHEMAS[row["task_type"]]
        assert (row["query"], row["positive"]) == (value[form.query], value[form.positive])
        assert row["negatives"] == ([value[form.negative]] if form.negative else [])
        assert len(row["negative_ids"]) == len(row["negatives"])
        assert row["positive_score"] is None
        assert row["negative_scores"] == []
        assert not row["relabelled"]


def test_tasks_come_from_the_lists_and_symmetric_groups_have_one(tmp_path, make):
    stage = brainstorm(tmp_path / "run", make(), Scripted())
    lists = rows(stage, "brainstorm-tasks", BRAINSTORM)
    assert Counter(row["task_type"] for row in lists) == dict.fromkeys(GROUPS[:4], 2)
    listed = {task for row in lists for task in json.loads(row["output"])["tasks"]}
    tasks = rows(stage, "tasks", TASKS)
    for row in tasks:
        assert row["task"] == EXAMPLE_SCHEMAS[row["task_type"]].task or row["task"] in listed
    assert Counter(row["task_type"] for row in tasks) == {
        **dict.fromkeys(GROUPS[:4], 6),
        "sts": 1,
        "bitext": 1,
    }
    used = {(row["task_type"], row["task"]) for row in stage.read_rows(EXAMPLES)}
    assert used <= {(row["task_type"], row["task"]) for row in tasks}
    assert len(used) == 5 + 5 + 4 + 4 + 1 + 1  # while there are tasks, none comes twice


def test_symmetric_groups_alone_need_no_list(tmp_path, make):
    llm = Scripted()
    recipe = make(brainstorm={"groups": ["sts", "bitext"], "examples": 4})
    stage = brainstorm(tmp_path / "run", recipe, llm)
    assert len(stage.read_rows(EXAMPLES)) == len(llm.asked) == 4


def test_placeholders_are_recorded_and_in_the_prompt(tmp_path, make):
    llm = Scripted()
    stage = brainstorm(tmp_path / "run", make(), llm)
    written = rows(stage, "brainstorm-generations", BRAINSTORM)
    prompts = [prompt for prompt, sampling in llm.asked if "tasks" not in sampling.json_schema]
    for row, prompt in zip(written, prompts, strict=True):
        for value in json.loads(row["placeholders"]).values():
            assert value in prompt
        assert row["task"] in prompt or row["task_type"] in ("sts", "bitext")
    assert len({row["placeholders"] for row in written}) > 10


@pytest.mark.parametrize(
    ("form", "has_chat", "chat"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("chat", True, True),
        ("completion", True, False),
    ],
)
def test_form_follows_the_model_unless_the_recipe_says(tmp_path, make, form, has_chat, chat):
    llm = Scripted(has_chat=has_chat)
    brainstorm(tmp_path / "run", make(llm={"prompt_format": form}), llm)
    assert {sampling.chat for _, sampling in llm.asked} == {chat}
    assert {prompt.endswith("\nJSON:") for prompt, _ in llm.asked} == {not chat}


def test_schema_is_not_asked_for_without_constraint(tmp_path, make):
    llm = Scripted(lambda prompt, seed, sampling: "Sure! Here are the tasks: 1. Find books.")
    with pytest.raises(UserError, match="no task was written well"):
        brainstorm(
            tmp_path / "run",
            make(generate={"constrain": False}, brainstorm={"groups": ["short-long"]}),
            llm,
        )
    assert {sampling.json_schema for _, sampling in llm.asked} == {None}


def test_real_engine_held_to_the_form_behind_a_users_own_prompts(tmp_path, make, llm_folder):
    """The model has learnt nothing, and yet whatever it has room to end is well formed."""
    (tmp_path / "mine").mkdir()
    for step, text in (("tasks", "{{ count }} tasks:"), ("example", "{{ task }} {{ language }}:")):
        (tmp_path / "mine" / f"{step}-short-short.jinja").write_text(text)
    settings = {"groups": ["short-short"], "prompts": "mine", "languages": ["German"]}
    recipe = make(brainstorm={**settings, "examples": 8, "max_new_tokens": 600})
    recipe._folder = tmp_path
    engine = TransformersEngine(str(llm_folder), dtype="float32", device="cpu")
    stage = brainstorm(tmp_path / "run", recipe, engine)
    counts = stage.manifest["counts"]
    assert counts["kept"] >= 6
    assert counts["kept"] + counts.get("dropped: unfinished", 0) == 8
    tokens = figures_of(stage, "brainstorm-generations")["figures"]["tokens"]
    before = figures_of(stage, "brainstorm-tasks")["figures"]["tokens"]
    assert tokens["new"] + before["new"] == engine.tokens["new"]


# --- resuming -------------------------------------------------------------------------------------


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.parquet"))
        if path.parent.name != "vectors"
    }


def test_killed_between_any_two_commits_it_ends_with_the_same_bytes(tmp_path, make, monkeypatch):
    class Killed(BaseException):
        pass

    whole = brainstorm(tmp_path / "whole", make(), Scripted()).folder.parent
    replace, lives = os.replace, 0
    folder = tmp_path / "killed"
    while lives < 200:
        commits = 0

        def deadly(source, target):
            nonlocal commits
            commits += 1
            if commits > 4:
                raise Killed
            replace(source, target)

        monkeypatch.setattr(os, "replace", deadly)
        lives += 1
        try:
            brainstorm(folder, make(), Scripted())
            break
        except Killed:
            continue
    assert lives > 10
    assert bytes_of(folder) == bytes_of(whole)


def test_brainstormed_tasks_and_examples_are_not_written_again(tmp_path, make):
    brainstorm(tmp_path / "run", make(), Scripted())
    with Run(tmp_path / "run") as run:
        make_examples(run, make(), LazyLLM(lambda: pytest.fail("the LLM was loaded")))
    with Run(tmp_path / "run", overwrite="stale") as run:
        # Another threshold is another choice of tasks, but the lists stay as they are.
        llm = Scripted()
        make_examples(run, make(brainstorm={"same_task": 0.5}), LazyLLM(lambda: llm, served=True))
    assert all("tasks" not in sampling.json_schema for _, sampling in llm.asked)


# --- what is dropped ------------------------------------------------------------------------------


def test_tasks_of_the_same_words_or_meaning_count_once(tmp_path, make):
    lists = iter(  # the encoder reads no accents: what differs by one alone means the same to it
        [
            {"tasks": ["Find the heart.", "find  the HEART.", "Find."]},
            {"tasks": ["Find the owl in books.", "Find the héart.", "Find the ówl in books."]},
        ]
    )

    def reply(prompt, seed, sampling):
        if "tasks" in sampling.json_schema:
            return json.dumps(next(lists))
        return well_formed(prompt, seed, sampling)

    recipe = make(brainstorm={"groups": ["short-long"], "examples": 4, "same_task": 0.9999})
    stage = brainstorm(tmp_path / "run", recipe, Scripted(reply))
    kept = [row["task"] for row in rows(stage, "tasks", TASKS)]
    assert kept == ["Find the heart.", "Find the owl in books."]
    assert dropped(stage, "tasks")[:2] == [
        ("brainstorm~short-long~0~1", "same words"),
        ("brainstorm~short-long~0~2", "no sentence"),
    ]
    counts = figures_of(stage, "tasks")["counts"]
    assert counts["kept"] == 2
    assert counts["dropped: same meaning"] == 2


def test_distinct_is_greedy_in_order():
    angles = np.radians([0, 20, 40, 41, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 20 falls to 0; 40 does not fall to 20, which is gone; 41 falls to 40.
    assert find_same_meaning(vectors, float(np.cos(np.radians(25)))) == [None, 0, None, 2, None]


def with_replies(*replies: str) -> Scripted:
    """Writes these examples, in order, and then good ones."""
    left = iter(replies)
    return Scripted(lambda p, s, sampling: next(left, None) or well_formed(p, s, sampling))


def example(query: str, positive: str, negative: str) -> str:
    return json.dumps({"S1": query, "S2": positive, "S3": negative})


STS = {"groups": ["sts"], "examples": 13}


@pytest.mark.bad_input(
    "replies of the LLM",
    "brainstormed replies that are no example",
    "dropped with the reason, kept word for word",
)
def test_brainstormed_replies_that_are_no_example_are_kept_aside_with_their_reason(tmp_path, make):
    replies = [
        "no JSON at all",
        '{"S1": "a b", "S2": "c d"',
        json.dumps({"S1": "a b", "S2": "c d"}),
        json.dumps({"S1": "a b", "S2": "c d", "S3": ["e"]}),
        json.dumps({"S1": "a b", "S2": "c d", "S3": "e f", "S4": "g"}),
        example("The same words", "the  same WORDS", "others"),
        example("a query", "the same words", "The same words"),
        example("a query", "other words", "A query"),
        example("a query", "\u200b \n", "other words"),
        example("I'm sorry, but I cannot write that.", "A b c", "D e f"),
        example("Given a text, find texts that mean the same.", "a b c", "d e f"),
        example("one two three", "four five six", "seven eight"),
        example("One two three", "four  five six", "another negative"),
    ]
    stage = brainstorm(tmp_path / "run", make(brainstorm=STS), with_replies(*replies))
    assert [row["query"] for row in stage.read_rows(EXAMPLES)] == ["one two three"]
    assert [reason for _, reason in dropped(stage, "examples-brainstorm")] == [
        "no JSON",
        "no JSON",
        "another form of JSON",
        "another form of JSON",
        "another form of JSON",
        "query equals positive",
        "positive equals negative",
        "query equals negative",
        "empty text",
        "refusal or boilerplate",
        "query is the task",
        "duplicate",
    ]
    outputs = [row["output"] for row in rows(stage, "brainstorm-generations", BRAINSTORM)]
    assert outputs == replies
    counts = stage.manifest["counts"]
    assert counts["kept"] == 1
    assert counts["dropped: another form of JSON"] == 3


def test_brainstormed_examples_that_repeat_the_prompt_are_dropped(tmp_path, make):
    replies = [
        example("The museum is closed on Mondays while the paintings are cleaned", "A b.", "C d."),
        example("A question.", "A sleeping dog beneath the TABLE", "C d."),
        example("another structure", "a dog", "C d."),  # too few words to tell
    ]
    recipe = make(brainstorm=STS | {"examples": 3})
    stage = brainstorm(tmp_path / "run", recipe, with_replies(*replies))
    assert stage.manifest["counts"]["dropped: copies the prompt"] == 2
    assert [row["query"] for row in stage.read_rows(EXAMPLES)] == ["another structure"]


@pytest.mark.parametrize(("has_chat", "stop"), [(True, ()), (False, ("\n",))])
def test_continued_text_without_a_forced_form_ends_with_its_line(tmp_path, make, has_chat, stop):
    llm = Scripted(lambda *_: example("one two", "three four", "five six"), has_chat)
    recipe = make(brainstorm=STS, generate={"constrain": False})
    brainstorm(tmp_path / "run", recipe, llm)
    assert {sampling.stop for _, sampling in llm.asked} == {stop}


def test_refusal_filter_can_be_off(tmp_path, make):
    reply = example("I'm sorry, but I cannot write that.", "A b c", "D e f")
    recipe = make(brainstorm=STS, generate={"filters": {"refusals": False}})
    stage = brainstorm(tmp_path / "run", recipe, with_replies(reply))
    assert len(stage.read_rows(EXAMPLES)) == 13


@pytest.mark.bad_input(
    "replies of the LLM", "no brainstormed example is usable", "refused with the counts"
)
def test_no_usable_example_is_reported_with_the_counts(tmp_path, make):
    with pytest.raises(UserError, match=r"no example is left.*no JSON.*13"):
        brainstorm(tmp_path / "run", make(brainstorm=STS), Scripted(lambda *_: "nothing"))


def test_examples_that_hold_an_evaluation_query_are_dropped(tmp_path, make):
    mine = tmp_path / "tasks" / "mine"
    (mine / "qrels").mkdir(parents=True)
    (mine / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "A text."}\n')
    (mine / "queries.jsonl").write_text('{"_id": "q", "text": "why do bees dance at noon"}\n')
    (mine / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    replies = [
        example("Why do bees dance at noon?", "They tell where flowers are.", "A b c"),
        example("A query.", "A text.", "So why do bees dance at noon, one asks."),
    ]
    evaluate = {"tasks": ["mine"], "task_data": str(tmp_path / "tasks")}
    stage = brainstorm(
        tmp_path / "run", make(brainstorm=STS, evaluate=evaluate), with_replies(*replies)
    )
    assert stage.manifest["counts"]["dropped: holds an evaluation query"] == 2
    assert len(stage.read_rows(EXAMPLES)) == 11


@pytest.mark.bad_input("evaluation", "a task that is not there", "refused before the LLM is asked")
def test_evaluation_task_that_is_not_there_stops_it_before_the_first_prompt(tmp_path, make):
    llm = Scripted()
    recipe = make(evaluate={"tasks": ["absent"], "task_data": str(tmp_path)})
    with pytest.raises(UserError, match="absent"):
        brainstorm(tmp_path / "run", recipe, llm)
    assert llm.asked == []


@pytest.mark.bad_input("shape of a recipe", "translations into one language", "refused")
def test_translations_need_two_languages(tmp_path, make):
    llm = Scripted()
    with pytest.raises(UserError, match=r"generate\.brainstorm\.languages.*\n?.*bitext"):
        brainstorm(tmp_path / "run", make(brainstorm={"languages": ["English"]}), llm)
    assert llm.asked == []
    assert not (tmp_path / "run" / "brainstorm-tasks").exists()


def test_group_without_a_task_leaves_its_share_to_the_others(tmp_path, make):
    def reply(prompt, seed, sampling):
        if "long document has to find another" in prompt:
            return "no list"
        return well_formed(prompt, seed, sampling)

    recipe = make(brainstorm={"groups": ["short-long", "long-long"], "examples": 6})
    stage = brainstorm(tmp_path / "run", recipe, Scripted(reply))
    assert [row["task_type"] for row in stage.read_rows(EXAMPLES)] == ["short-long"] * 6
    assert figures_of(stage, "tasks")["counts"]["no task for long-long"] == 1


# --- prompts, placeholders, forms -----------------------------------------------------------------


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
