"""Passages that are learnt from without queries, counted where they overlap with the evaluation."""

import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.task_folders import write_beir
from helpers.tiny_models import TEXTS

from distill.evaluate.stage import fingerprint
from distill.evaluate.unlabelled import count_unlabelled_overlap
from distill.recipe import Recipe
from distill.store.run import Run
from distill.tasks import load_task

pytest.importorskip("mteb")


ALIGNED = {"objective": {"align": 1.0}, "align": {"sentences": 4}}


@pytest.fixture
def counted(tmp_path):
    """The overlap of four passages with a task of the first two of them."""
    write_beir(tmp_path / "tasks" / "mine", "test", TEXTS[:2])

    def work(**values):
        recipe = Recipe.model_validate(
            {
                "name": "x",
                "teacher": {"model": "t"},
                "evaluate": {"tasks": ["mine"], "task_data": str(tmp_path / "tasks")},
            }
            | values
        )
        with Run(tmp_path / "run") as run:
            passages = make_numbered_passages(run, 4)
            tasks = [load_task("mine", tmp_path / "tasks")]
            return count_unlabelled_overlap(recipe.train, recipe.generate.filters, passages, tasks)

    return work


def test_overlap_is_counted_where_passages_are_aligned(counted):
    found = counted(train=ALIGNED)
    assert found == {
        "learnt from by": ["align"],
        "passages": 4,
        "run of words": 8,
        "that hold an evaluation query": 2,
        "that share words with an evaluation document": 2,
    }


def test_titles_are_learnt_from_too(counted):
    found = counted(train={"mixture": [{"path": "titles"}, {"path": "examples"}]})
    assert found["learnt from by"] == ["titles"]


def test_overlaps_are_not_counted_without_a_use_or_where_it_is_off(counted):
    assert counted() is None
    off = {"filters": {"decontaminate": False}}
    assert counted(train=ALIGNED, generate=off) is None


def test_overlaps_of_another_length_are_counted_anew(teacher_folder):
    def hash_settings(words, train=ALIGNED):
        filters = {} if words is None else {"decontaminate_words": words}
        recipe = Recipe.model_validate(
            {"name": "x", "teacher": {"model": str(teacher_folder)}, "train": train}
            | {"generate": {"filters": filters}, "evaluate": {"tasks": ["mine"]}}
        )
        return fingerprint(recipe, [], {})

    assert hash_settings(5) != hash_settings(None)
    assert hash_settings(8) == hash_settings(None)
    assert "decontaminate_words" not in hash_settings(None)  # as it was in runs of before
    unaligned = {"objective": {"infonce": 1.0}}
    assert hash_settings(5, unaligned) == hash_settings(None, unaligned)


@pytest.mark.parametrize(("method", "differs"), [("labelled", True), ("fret", False)])
def test_settings_of_bm25_are_the_verdicts_where_nothing_is_retrieved(method, differs):
    """Where queries retrieve candidates, the student's fingerprint holds them."""

    def hash_settings(language):
        labelled = [{"path": "a.tsv", "task": "Find it."}] if method == "labelled" else []
        recipe = Recipe.model_validate(
            {"name": "x", "generate": {"methods": [method], "labelled": labelled}}
            | {"retriever": {"sources": ["dense", "bm25"], "bm25": {"language": language}}}
        )
        return fingerprint(recipe, [], {})

    assert (hash_settings("english") != hash_settings("german")) is differs


def test_overlap_that_is_counted_no_more_evaluates_anew(teacher_folder):
    def hash_settings(decontaminate, train=ALIGNED):
        recipe = Recipe.model_validate(
            {"name": "x", "teacher": {"model": str(teacher_folder)}, "train": train}
            | {"generate": {"filters": {"decontaminate": decontaminate}}}
            | {"evaluate": {"tasks": ["mine"]}}
        )
        return fingerprint(recipe, [], {})

    assert hash_settings(False) != hash_settings(None)
    assert hash_settings(True) == hash_settings(None)  # counted in both
    assert "decontaminate" not in hash_settings(None)  # as it was in runs of before
    unaligned = {"objective": {"infonce": 1.0}}
    assert hash_settings(False, unaligned) == hash_settings(None, unaligned)


def test_alignment_of_the_examples_alone_learns_from_no_passage_besides(counted):
    assert counted(train={"objective": {"infonce": 1.0, "align": 1.0}}) is None
