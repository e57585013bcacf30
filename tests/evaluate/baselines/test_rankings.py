"""Rankings in a file."""

import pytest

from distill.evaluate.baselines.rankings import (
    cut_rankings,
    has_rankings,
    make_falling_scores,
    rank_documents,
    read_rankings,
    write_rankings,
)

RANKINGS = {
    "test/en": {"q1": {"d3": 0.75, "d1": -0.5}, "q2": {}},
    "test/de": {"q1": {"d7": 12.0}},
}


def test_documents_stand_by_falling_score_and_the_mark_of_nothing_is_left_out():
    ranked = rank_documents({"a": 0.1, "c": 0.5, "b": 0.5, "": 9.0})
    assert [*ranked.items()] == [("c", 0.5), ("b", 0.5), ("a", 0.1)]


def test_rankings_read_back_are_those_that_were_written(tmp_path):
    path = tmp_path / "deep" / "SciFact.parquet"
    write_rankings(path, RANKINGS, {"revision": 1})
    read = read_rankings(path)
    assert read == RANKINGS
    assert list(read["test/en"]["q1"]) == ["d3", "d1"]
    assert [one.name for one in path.parent.iterdir()] == ["SciFact.parquet"]


def test_rankings_of_other_data_or_a_damaged_file_do_not_count(tmp_path):
    path = tmp_path / "SciFact.parquet"
    assert not has_rankings(path, {"revision": 1})
    write_rankings(path, RANKINGS, {"revision": 1})
    assert has_rankings(path, {"revision": 1})
    assert not has_rankings(path, {"revision": 2})
    path.write_bytes(path.read_bytes()[:-20])
    assert not has_rankings(path, {"revision": 1})


def test_cut_keeps_the_first_documents_of_the_only_part():
    assert cut_rankings({"test/default": {"q": {"a": 3, "b": 2, "c": 1}}}, 2) == {"q": ["a", "b"]}
    with pytest.raises(ValueError, match="too many"):
        cut_rankings(RANKINGS, 2)


def test_scores_of_an_order_give_that_order_back():
    assert list(rank_documents(make_falling_scores(["a", "z", "m"]))) == ["a", "z", "m"]
