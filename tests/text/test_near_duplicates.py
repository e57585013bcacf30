"""Passages that read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.text.near_duplicates import NearDuplicates, compute_jaccard, make_word_shingles

TEXT = "Bees dance to tell other bees where the flowers are."


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("bees dance, to tell OTHER bees: where the flowers are", True),
        (f"Chapter: {TEXT}", True),
        ("Bees dance to tell other bees where the water is.", False),
        ("are flowers the where bees other tell to dance Bees", False),
        ("", False),
    ],
)
def test_near_duplicates_share_word_shingles(other, same):
    assert NearDuplicates([TEXT], 0.8).contains(other) is same


def test_jaccard_similarity_of_word_shingles():
    one, other = make_word_shingles("a b c d e"), make_word_shingles("A, b c d f!")
    assert one == {("a", "b", "c"), ("b", "c", "d"), ("c", "d", "e")}
    assert compute_jaccard(one, other) == 2 / 4
    assert NearDuplicates(["a b c d e"], 0.5).contains("a b c d f")
    assert not NearDuplicates(["a b c d e"], 0.51).contains("a b c d f")


def test_shingles_of_short_texts_are_their_words():
    assert NearDuplicates(["Red fox"], 0.8).contains("fox, red")
    assert not NearDuplicates(["Red fox"], 0.5).contains("red hen")
    assert not NearDuplicates(["Red fox"], 0.1).contains("a red fox ran")


def test_near_duplicates_without_words_are_equal_texts():
    assert NearDuplicates(["***"], 0.1).contains("***")
    assert not NearDuplicates(["***"], 0.1).contains("---")


def test_near_duplicates_without_a_share_are_equal_texts_alone():
    assert NearDuplicates([TEXT], None).contains(TEXT)
    assert not NearDuplicates([TEXT], None).contains(TEXT.lower())


def test_text_is_compared_with_each_original():
    assert NearDuplicates(["something else entirely", TEXT], 0.8).contains(TEXT.upper())


def test_language_without_spaces_is_compared_by_characters():
    assert NearDuplicates(["蜜蜂用舞蹈告诉同伴花在哪里。"], 0.8).contains(
        "蜜蜂用舞蹈告诉同伴花在哪里了"
    )
    assert not NearDuplicates(["蜜蜂用舞蹈告诉同伴花在哪里。"], 0.8).contains(
        "潮汐随着月亮每天涨落两次。"
    )


@given(st.text(max_size=40), st.text(max_size=40), st.floats(0.01, 1))
def test_reading_the_same_is_mutual_and_a_text_reads_as_itself(one, other, share):
    assert NearDuplicates([one], share).contains(one)
    assert NearDuplicates([one], share).contains(other) == NearDuplicates([other], share).contains(
        one
    )
