"""Words for comparison, and the limits on length."""

import pytest
from helpers.query_rows import make_generated_query

from distill.generate.filters.length import make_length_filter
from distill.text.normalize import split_comparable_words


def test_case_and_punctuation_do_not_count():
    expected = ["the", "swift", "s", "flight", "how", "high"]
    assert split_comparable_words("  The SWIFT’s ﬂight—how_high?") == expected
    assert split_comparable_words("the swift's flight how high") == expected


def test_words_are_whole_in_any_script():
    assert split_comparable_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert split_comparable_words("北京的天气 today") == ["北", "京", "的", "天", "气", "today"]
    assert split_comparable_words("co\u00adop\u200bera") == ["coop", "era"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("swifts", "too few words"),
        ("???", "too few words"),
        ("swift flight", None),
        ("北京天气怎么样", None),
        ("word " * 7, None),
        ("word " * 8, "too many words"),
    ],
)
def test_limits(query, reason):
    assert make_length_filter(2, 7)(make_generated_query(query)) == reason
