"""Sentences, token estimates and passages of whole sentences."""

import random
import re

import pytest

from distill.corpus.split import sentences, split, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One sentence", ["One sentence"]),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("See Fig. 3, Dr. Who, e.g. Here.  Next.", ["See Fig. 3, Dr. Who, e.g. Here.", "Next."]),
        ("J. R. Smith et al. Found it. Good.", ["J. R. Smith et al. Found it.", "Good."]),
        ("It is 3.5 m. 2 are left.", ["It is 3.5 m.", "2 are left."]),
        ("Use numpy.sum. default is None.", ["Use numpy.sum. default is None."]),
        ('He said "no." Then (later.) He left.', ['He said "no."', "Then (later.)", "He left."]),
        ("A title\n\nA text\nin lines. Über all.", ["A title", "A text\nin lines.", "Über all."]),
        ("これは本です。あれも本です。", ["これは本です。", "あれも本です。"]),
        ("Really?! Yes... No", ["Really?!", "Yes...", "No"]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_tokens_are_four_thirds_of_words_and_marks() -> None:
    assert tokens("") == 0
    assert tokens("one two three") == 4
    assert tokens("one, two!") == 6  # 4 marks, rounded up


def test_a_text_within_the_budget_is_kept_as_it_is() -> None:
    assert split("  One.  Two. ", 100) == ["One.  Two."]


def test_passages_are_whole_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten."
    assert split(text, 11) == ["One two three. Four five six.", "Seven eight nine. Ten."]


def test_an_overlong_sentence_is_cut_at_words() -> None:
    assert split("a b c d e. F g.", 4) == ["a b c", "d e.", "F g."]


def test_a_word_of_many_marks_is_cut_at_marks() -> None:
    assert split("a.b.c.d", 4) == ["a.b", ".c.", "d"]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_no_passage_is_over_budget(seed: int) -> None:
    draw = random.Random(seed)
    words = ["word", "x.y.z", "Ab,", "Über.", "(e.g.", "end!", "\n\n", "----", "3.5%"]
    text = " ".join(draw.choice(words) for _ in range(300))
    budget = draw.randint(2, 60)
    passages = split(text, budget)
    assert "".join(re.sub(r"\s", "", p) for p in passages) == re.sub(r"\s", "", text)
    assert max(map(tokens, passages)) <= max(budget, 2)
