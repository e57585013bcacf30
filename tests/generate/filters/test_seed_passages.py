"""Parsed rows find their seed passages, wherever in the corpus those are."""

import pytest
from helpers.query_rows import parsed, passage, prepare

from distill.errors import UserError
from distill.generate.filters.seed_passages import SeedPassages, draws_of
from distill.store.run import Run

PASSAGES = [[passage(id_, f"text of {id_}") for id_ in part] for part in ("xa", "byc", "d")]


@pytest.fixture
def folder(tmp_path):
    with Run(tmp_path / "run") as run:
        return prepare(run, PASSAGES, [])[0].folder


def test_each_row_gets_its_passage(folder):
    corpus = SeedPassages(folder)
    order = ["a", "d", "b", "b", "c", "a"]
    for id_ in order:
        (draw,) = draws_of([parsed(id_, "how high")], corpus)
        assert draw.passage_text == f"text of {id_}"
        assert draw.number == "xabycd".index(id_)
    draws = draws_of([parsed(id_, "how high") for id_ in order], SeedPassages(folder))
    assert [draw.number for draw in draws] == ["xabycd".index(id_) for id_ in order]
    assert draws_of([], corpus) == []


@pytest.mark.bad_input("damage", "a passage that is no longer there", "refused by id")
def test_a_passage_that_is_not_there_is_named(folder):
    with pytest.raises(UserError, match="has no passage 'gone'"):
        draws_of([parsed("a", "how high"), parsed("gone", "how high")], SeedPassages(folder))
