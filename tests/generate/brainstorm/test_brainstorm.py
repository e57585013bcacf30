"""Synthesis without a corpus: tasks first, then one example of each."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from helpers.brainstorming import (
    GROUPS,
    ScriptedLLM,
    make_examples,
    read_manifest,
    read_table,
    run_brainstorm,
)

from distill.errors import UserError
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
)
from distill.llm.lazy import LazyLLM
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.tables import BRAINSTORM, EXAMPLES, TASKS


def count_closings(folder: Path, recipe: Recipe) -> list[str]:
    """Runs the brainstorm with a local LLM that is open; a mark for each time that it is closed."""
    closings: list[str] = []
    engine = ScriptedLLM()
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


# --- the whole way --------------------------------------------------------------------------------


def test_group_brings_examples_of_its_form(tmp_path, make):
    stage = run_brainstorm(tmp_path / "run", make(), ScriptedLLM())
    examples = stage.read_rows(EXAMPLES)
    written = {
        row["item_id"]: row for row in read_table(stage, "brainstorm-generations", BRAINSTORM)
    }
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
    stage = run_brainstorm(tmp_path / "run", make(), ScriptedLLM())
    lists = read_table(stage, "brainstorm-tasks", BRAINSTORM)
    assert Counter(row["task_type"] for row in lists) == dict.fromkeys(GROUPS[:4], 2)
    listed = {task for row in lists for task in json.loads(row["output"])["tasks"]}
    tasks = read_table(stage, "tasks", TASKS)
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
    llm = ScriptedLLM()
    recipe = make(brainstorm={"groups": ["sts", "bitext"], "examples": 4})
    stage = run_brainstorm(tmp_path / "run", recipe, llm)
    assert len(stage.read_rows(EXAMPLES)) == len(llm.asked) == 4


def test_placeholders_are_recorded_and_in_the_prompt(tmp_path, make):
    llm = ScriptedLLM()
    stage = run_brainstorm(tmp_path / "run", make(), llm)
    written = read_table(stage, "brainstorm-generations", BRAINSTORM)
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
    llm = ScriptedLLM(has_chat=has_chat)
    run_brainstorm(tmp_path / "run", make(llm={"prompt_format": form}), llm)
    assert {sampling.chat for _, sampling in llm.asked} == {chat}
    assert {prompt.endswith("\nJSON:") for prompt, _ in llm.asked} == {not chat}


def test_schema_is_not_asked_for_without_constraint(tmp_path, make):
    llm = ScriptedLLM(lambda prompt, seed, sampling: "Sure! Here are the tasks: 1. Find books.")
    with pytest.raises(UserError, match="no task was written well"):
        run_brainstorm(
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
    stage = run_brainstorm(tmp_path / "run", recipe, engine)
    counts = stage.manifest["counts"]
    assert counts["kept"] >= 6
    assert counts["kept"] + counts.get("dropped: unfinished", 0) == 8
    tokens = read_manifest(stage, "brainstorm-generations")["figures"]["tokens"]
    before = read_manifest(stage, "brainstorm-tasks")["figures"]["tokens"]
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

    whole = run_brainstorm(tmp_path / "whole", make(), ScriptedLLM()).folder.parent
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
            run_brainstorm(folder, make(), ScriptedLLM())
            break
        except Killed:
            continue
    assert lives > 10
    assert bytes_of(folder) == bytes_of(whole)


def test_brainstormed_tasks_and_examples_are_not_written_again(tmp_path, make):
    run_brainstorm(tmp_path / "run", make(), ScriptedLLM())
    with Run(tmp_path / "run") as run:
        make_examples(run, make(), LazyLLM(lambda: pytest.fail("the LLM was loaded")))
    with Run(tmp_path / "run", overwrite="stale") as run:
        # Another threshold is another choice of tasks, but the lists stay as they are.
        llm = ScriptedLLM()
        make_examples(run, make(brainstorm={"same_task": 0.5}), LazyLLM(lambda: llm, served=True))
    assert all("tasks" not in sampling.json_schema for _, sampling in llm.asked)
