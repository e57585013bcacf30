"""The longest run of words that query and passage share, as a share of the query's words."""

import pytest
from helpers.query_rows import make_generated_query, make_parsed_row, make_passage

from distill.generate.filters.candidate import GeneratedQuery
from distill.generate.filters.copied_text import compute_copied_share, make_copy_filter
from distill.store.tables import NO_LLM

TEXT = "The heart pumps blood through the body; the lungs take oxygen from the air."


@pytest.mark.parametrize(
    ("query", "share"),
    [
        ("The HEART pumps blood, through the body", 1.0),
        ("what pumps blood through", 3 / 4),
        ("who pumps oxygen", 1 / 3),
        ("tides follow moon", 0.0),
        ("body the lungs", 1.0),
        ("!!!", 0.0),
    ],
)
def test_share(query, share):
    assert compute_copied_share(query, TEXT) == pytest.approx(share)


def test_frequent_word_is_no_junk():
    """difflib would leave out words that make up more than 1 % of a long passage."""
    assert compute_copied_share("the sea the sea", "the sea " * 300) == 1.0


def test_copied_text_beyond_the_limit_is_dropped():
    assert make_copy_filter(0.75)(make_generated_query("what pumps blood through", TEXT)) is None
    assert (
        make_copy_filter(0.7)(make_generated_query("what pumps blood through", TEXT))
        == "copies the passage"
    )


def test_title_is_part_of_the_passage():
    titled = GeneratedQuery(
        make_parsed_row("p", "swift flight"), make_passage("p", "They sleep.", "Swift flight"), 0
    )
    assert make_copy_filter(0.9)(titled) == "copies the passage"


def test_query_that_no_llm_wrote_may_be_a_copy():
    row = make_parsed_row("p", "the heart pumps blood") | {"llm": NO_LLM, "task_type": "sentences"}
    assert make_copy_filter(0.5)(GeneratedQuery(row, make_passage("p", TEXT), 0)) is None
    written = make_generated_query("the heart pumps blood", TEXT)
    assert make_copy_filter(0.5)(written) == "copies the passage"
