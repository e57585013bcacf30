"""Replies, tasks and examples of a brainstorm that are dropped or refused."""

import json

import numpy as np
import pytest
from helpers.brainstorming import (
    ScriptedLLM,
    make_triple,
    read_manifest,
    read_table,
    run_brainstorm,
    write_well_formed,
)

from distill.errors import UserError
from distill.generate.brainstorm.tasks import find_same_meaning
from distill.store.stage import Stage
from distill.store.tables import BRAINSTORM, DROPPED, EXAMPLES, TASKS, read_shard


def dropped(stage: Stage, name: str) -> list[tuple[str, str]]:
    book = stage.folder.parent / name / ".stage"
    return [
        (row["item_id"], row["reason"])
        for path in sorted(book.glob("dropped-*.parquet"))
        for row in read_shard(DROPPED, path)
    ]


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
        return write_well_formed(prompt, seed, sampling)

    recipe = make(brainstorm={"groups": ["short-long"], "examples": 4, "same_task": 0.9999})
    stage = run_brainstorm(tmp_path / "run", recipe, ScriptedLLM(reply))
    kept = [row["task"] for row in read_table(stage, "tasks", TASKS)]
    assert kept == ["Find the heart.", "Find the owl in books."]
    assert dropped(stage, "tasks")[:2] == [
        ("brainstorm~short-long~0~1", "same words"),
        ("brainstorm~short-long~0~2", "no sentence"),
    ]
    counts = read_manifest(stage, "tasks")["counts"]
    assert counts["kept"] == 2
    assert counts["dropped: same meaning"] == 2


def test_distinct_is_greedy_in_order():
    angles = np.radians([0, 20, 40, 41, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 20 falls to 0; 40 does not fall to 20, which is gone; 41 falls to 40.
    assert find_same_meaning(vectors, float(np.cos(np.radians(25)))) == [None, 0, None, 2, None]


def with_replies(*replies: str) -> ScriptedLLM:
    """Writes these examples, in order, and then good ones."""
    left = iter(replies)
    return ScriptedLLM(lambda p, s, sampling: next(left, None) or write_well_formed(p, s, sampling))


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
        make_triple("The same words", "the  same WORDS", "others"),
        make_triple("a query", "the same words", "The same words"),
        make_triple("a query", "other words", "A query"),
        make_triple("a query", "\u200b \n", "other words"),
        make_triple("I'm sorry, but I cannot write that.", "A b c", "D e f"),
        make_triple("Given a text, find texts that mean the same.", "a b c", "d e f"),
        make_triple("one two three", "four five six", "seven eight"),
        make_triple("One two three", "four  five six", "another negative"),
    ]
    stage = run_brainstorm(tmp_path / "run", make(brainstorm=STS), with_replies(*replies))
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
    outputs = [row["output"] for row in read_table(stage, "brainstorm-generations", BRAINSTORM)]
    assert outputs == replies
    counts = stage.manifest["counts"]
    assert counts["kept"] == 1
    assert counts["dropped: another form of JSON"] == 3


def test_brainstormed_examples_that_repeat_the_prompt_are_dropped(tmp_path, make):
    replies = [
        make_triple(
            "The museum is closed on Mondays while the paintings are cleaned", "A b.", "C d."
        ),
        make_triple("A question.", "A sleeping dog beneath the TABLE", "C d."),
        make_triple("another structure", "a dog", "C d."),  # too few words to tell
    ]
    recipe = make(brainstorm=STS | {"examples": 3})
    stage = run_brainstorm(tmp_path / "run", recipe, with_replies(*replies))
    assert stage.manifest["counts"]["dropped: copies the prompt"] == 2
    assert [row["query"] for row in stage.read_rows(EXAMPLES)] == ["another structure"]


@pytest.mark.parametrize(("has_chat", "stop"), [(True, ()), (False, ("\n",))])
def test_continued_text_without_a_forced_form_ends_with_its_line(tmp_path, make, has_chat, stop):
    llm = ScriptedLLM(lambda *_: make_triple("one two", "three four", "five six"), has_chat)
    recipe = make(brainstorm=STS, generate={"constrain": False})
    run_brainstorm(tmp_path / "run", recipe, llm)
    assert {sampling.stop for _, sampling in llm.asked} == {stop}


def test_refusal_filter_can_be_off(tmp_path, make):
    reply = make_triple("I'm sorry, but I cannot write that.", "A b c", "D e f")
    recipe = make(brainstorm=STS, generate={"filters": {"refusals": False}})
    stage = run_brainstorm(tmp_path / "run", recipe, with_replies(reply))
    assert len(stage.read_rows(EXAMPLES)) == 13


@pytest.mark.bad_input(
    "replies of the LLM", "no brainstormed example is usable", "refused with the counts"
)
def test_no_usable_example_is_reported_with_the_counts(tmp_path, make):
    with pytest.raises(UserError, match=r"no example is left.*no JSON.*13"):
        run_brainstorm(tmp_path / "run", make(brainstorm=STS), ScriptedLLM(lambda *_: "nothing"))


def test_examples_that_hold_an_evaluation_query_are_dropped(tmp_path, make):
    mine = tmp_path / "tasks" / "mine"
    (mine / "qrels").mkdir(parents=True)
    (mine / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "A text."}\n')
    (mine / "queries.jsonl").write_text('{"_id": "q", "text": "why do bees dance at noon"}\n')
    (mine / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    replies = [
        make_triple("Why do bees dance at noon?", "They tell where flowers are.", "A b c"),
        make_triple("A query.", "A text.", "So why do bees dance at noon, one asks."),
    ]
    evaluate = {"tasks": ["mine"], "task_data": str(tmp_path / "tasks")}
    stage = run_brainstorm(
        tmp_path / "run", make(brainstorm=STS, evaluate=evaluate), with_replies(*replies)
    )
    assert stage.manifest["counts"]["dropped: holds an evaluation query"] == 2
    assert len(stage.read_rows(EXAMPLES)) == 11


@pytest.mark.bad_input("evaluation", "a task that is not there", "refused before the LLM is asked")
def test_evaluation_task_that_is_not_there_stops_it_before_the_first_prompt(tmp_path, make):
    llm = ScriptedLLM()
    recipe = make(evaluate={"tasks": ["absent"], "task_data": str(tmp_path)})
    with pytest.raises(UserError, match="absent"):
        run_brainstorm(tmp_path / "run", recipe, llm)
    assert llm.asked == []


@pytest.mark.bad_input("shape of a recipe", "translations into one language", "refused")
def test_translations_need_two_languages(tmp_path, make):
    llm = ScriptedLLM()
    with pytest.raises(UserError, match=r"generate\.brainstorm\.languages.*\n?.*bitext"):
        run_brainstorm(tmp_path / "run", make(brainstorm={"languages": ["English"]}), llm)
    assert llm.asked == []
    assert not (tmp_path / "run" / "brainstorm-tasks").exists()


def test_group_without_a_task_leaves_its_share_to_the_others(tmp_path, make):
    def reply(prompt, seed, sampling):
        if "long document has to find another" in prompt:
            return "no list"
        return write_well_formed(prompt, seed, sampling)

    recipe = make(brainstorm={"groups": ["short-long", "long-long"], "examples": 6})
    stage = run_brainstorm(tmp_path / "run", recipe, ScriptedLLM(reply))
    assert [row["task_type"] for row in stage.read_rows(EXAMPLES)] == ["short-long"] * 6
    assert read_manifest(stage, "tasks")["counts"]["no task for long-long"] == 1
