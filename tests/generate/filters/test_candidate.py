"""The contracts for those who add a filter or a reader: their examples run. Queries get the
passages that they were written for, wherever in the corpus those are."""

import doctest
from pathlib import Path

import pytest
from helpers.query_rows import make_parsed_row, make_passage, prepare_parsed

from distill.corpus.readers import rows
from distill.errors import UserError
from distill.generate.filters import candidate
from distill.generate.filters.candidate import attach_passages
from distill.store.passages import PassageReader
from distill.store.run import Run


@pytest.mark.parametrize("module", [candidate, rows])
def test_contract_of_a_filter_and_of_a_corpus_reader_has_an_example_that_runs(module):
    outcome = doctest.testmod(module)
    tested = outcome.attempted
    if module is candidate:  # an alias has no docstring of its own at run time
        text = Path(module.__file__).read_text(encoding="utf-8")
        example = text[text.index('"""A filter: returns') :].strip().strip('"')
        test = doctest.DocTestParser().get_doctest(example, dict(vars(module)), "Filter", None, 0)
        outcome = doctest.DocTestRunner().run(test)
        tested = outcome.attempted
    assert tested
    assert not outcome.failed


PASSAGES = [[make_passage(id_, f"text of {id_}") for id_ in part] for part in ("xa", "byc", "d")]


@pytest.fixture
def folder(tmp_path):
    with Run(tmp_path / "run") as run:
        return prepare_parsed(run, PASSAGES, [])[0].folder


def test_each_row_gets_its_passage(folder):
    corpus = PassageReader(folder)
    order = ["a", "d", "b", "b", "c", "a"]
    for id_ in order:
        (draw,) = attach_passages([make_parsed_row(id_, "how high")], corpus)
        assert draw.passage_text == f"text of {id_}"
        assert draw.number == "xabycd".index(id_)
    draws = attach_passages(
        [make_parsed_row(id_, "how high") for id_ in order], PassageReader(folder)
    )
    assert [draw.number for draw in draws] == ["xabycd".index(id_) for id_ in order]
    assert attach_passages([], corpus) == []


@pytest.mark.bad_input("damage", "a passage that is no longer there", "refused by id")
def test_passage_that_is_not_there_is_named(folder):
    rows = [make_parsed_row("a", "how high"), make_parsed_row("gone", "how high")]
    with pytest.raises(UserError, match="has no passage 'gone'"):
        attach_passages(rows, PassageReader(folder))
