"""`distill check` of a recipe that was changed after its run had begun."""

import re

import pytest

import distill
from distill.recipe import load_recipe, override
from distill.start.checks.begun import check_begun

PAID = "a language model is asked again for"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("generate.shots", 2, f"generate.shots: 6 -> 2.*{PAID} generations, judgements-ql"),
        ("relabel.top_k", 3, f"again: candidates, .*{PAID} judgements-ql, judgements-rc;"),
        ("relabel.negative_count", 0, "again: examples, student, evaluation; `distill run`"),
        ("train.epochs", 9.0, "again: student, evaluation; `distill run` refuses"),
        ("evaluate.widths", [8], "again: evaluation$"),
        ("corpus.limit", 4, "corpus.limit: None -> 4.*; `distill run` says"),
    ],
)
def test_stages_that_would_be_made_again_are_said(whole_run, key, value, says):
    recipe = load_recipe(whole_run / "recipe.yaml")
    (notice,) = check_begun(override(recipe, {key: value}), whole_run)
    assert re.search(says, notice), notice


def test_run_of_an_unchanged_recipe_is_not_mentioned(whole_run):
    recipe = load_recipe(whole_run / "recipe.yaml")
    faster = override(recipe, {"llm.concurrency": 3, "train.mini_batch_tokens": 512})
    assert check_begun(recipe, whole_run) == check_begun(faster, whole_run) == []
    changed = override(recipe, {"relabel.top_k": 3})
    assert any("candidates" in notice for notice in distill.check(changed, whole_run).notices)


def test_folder_without_a_run_says_nothing(recipe_file, tmp_path):
    assert check_begun(load_recipe(recipe_file), tmp_path / "run") == []
