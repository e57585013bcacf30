"""The contracts for those who add a filter or a reader: their examples run."""

import doctest
from pathlib import Path

import pytest

from distill.corpus.readers import rows
from distill.generate.filters import candidate


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
