"""Queries from a passage's own text: sentences, titles, bags of its rarer words."""

import random

import pytest
from helpers.query_rows import make_passage

from distill.generate.free.draw import CorpusCounts, digest_sentence, draw_queries, list_sentences
from distill.recipe import FreeQueries

SETTINGS = FreeQueries()


def draw(row, method, count=1, counts=None, seed=0, settings=SETTINGS):
    counts = counts or CorpusCounts(1, {}, frozenset())
    return draw_queries(row, method, count, counts, settings, random.Random(seed))


def test_sentences_have_neither_too_few_nor_too_many_words():
    text = "Too short. A glacier is a slow river of ice. " + "Word" + " word" * 60 + "."
    assert list_sentences(make_passage("p", text), SETTINGS) == [
        "A glacier is a slow river of ice."
    ]


def test_sentence_that_stands_in_many_passages_is_no_query():
    row = make_passage("p", "All rights are reserved here. Bees dance to tell where flowers are.")
    boilerplate = frozenset({digest_sentence("All Rights are reserved  here.")})
    counts = CorpusCounts(9, {}, boilerplate)
    assert draw(row, "sentences", 5, counts) == ["Bees dance to tell where flowers are."]


def test_title_is_a_query():
    assert draw(make_passage("p", "text", title=" Bees "), "titles", 3) == ["Bees"]


def test_keywords_are_rare_words_of_the_passage_and_never_those_of_every_passage():
    row = make_passage("p", "the bees dance the flowers")
    counts = CorpusCounts(10, {"the": 10, "bees": 1, "dance": 2, "flowers": 1}, frozenset())
    bags = draw(row, "keywords", 20, counts)
    assert bags
    for bag in bags:
        words = bag.split()
        assert set(words) <= {"bees", "dance", "flowers"}
        assert 2 <= len(words) == len(set(words))


def test_rarer_word_stands_in_more_bags():
    row = make_passage("p", "common rare middling other")
    frequency = {"common": 900, "rare": 1, "middling": 500, "other": 500}
    counts = CorpusCounts(1000, frequency, frozenset())
    settings = FreeQueries(keyword_terms=(2, 2))
    bags = [draw(row, "keywords", 1, counts, seed, settings)[0].split() for seed in range(200)]
    assert sum("rare" in bag for bag in bags) > 2 * sum("common" in bag for bag in bags)


@pytest.mark.parametrize(
    ("text", "script"),
    [("蜜蜂跳舞告诉其他蜜蜂花在哪里。冰川是缓慢的冰河，在移动中雕刻山谷。", "Chinese"),
     ("النحل يرقص ليخبر النحل الآخر بمكان الزهور. النهر الجليدي نهر بطيء من الجليد.", "Arabic")],
    ids=lambda value: value if value.isascii() else "text",
)  # fmt: skip
def test_sentences_and_keywords_come_from_every_script(text, script):
    row = make_passage("p", text)
    assert len(draw(row, "sentences", 2)) == 2

    class Rare(dict):
        def __missing__(self, key):
            return 1

    assert draw(row, "keywords", 1, CorpusCounts(100, Rare(), frozenset()))


def test_same_seed_draws_the_same_queries():
    row = make_passage("p", "a1 b2 c3 d4 e5 f6 g7")
    counts = CorpusCounts(
        10, dict.fromkeys(["a1", "b2", "c3", "d4", "e5", "f6", "g7"], 1), frozenset()
    )
    assert draw(row, "keywords", 5, counts) == draw(row, "keywords", 5, counts)
