"""Texts to align are drawn from all of the corpus, of which no text that is not drawn is held."""

import random

from helpers.training_by_hand import make_passage_rows

from distill.recipe import Align
from distill.store.tables import join_passage
from distill.text.sentences import split_sentences
from distill.text.words import count_words
from distill.train.data.texts_to_align import MIN_WORDS, draw_texts


def test_texts_are_drawn_by_seed_each_once():
    rows = make_passage_rows()
    rows[0]["text"] = "One sentence of five words. Too short. And one sentence of six words."
    rows[1]["text"] = rows[2]["text"] = "One sentence of five words. Here another of five words."
    align = Align(passages=5, sentences=100)
    drawn = draw_texts(align, 1, rows).documents
    assert len(drawn) == len(set(drawn))
    assert "Too short." not in drawn
    assert {"One sentence of five words.", "And one sentence of six words."} <= set(drawn)
    assert sum(text.startswith("Text") for text in drawn) == 5
    assert draw_texts(align, 1, rows) == (drawn, [])
    assert draw_texts(align, 2, rows).documents != drawn


def test_sentences_may_be_aligned_as_queries():
    """They are the same ones, drawn in the same order."""
    rows = make_passage_rows()
    align = Align(passages=3, sentences=4)
    documents, queries = draw_texts(align.model_copy(update={"sentences_as": "query"}), 1, rows)
    assert (len(documents), len(queries)) == (3, 4)
    assert documents + queries == draw_texts(align, 1, rows).documents


def test_texts_are_those_of_a_draw_from_lists_of_all():
    """Students of before were trained on these."""
    rows = make_passage_rows() + [row | {"passage_id": "again"} for row in make_passage_rows()[:4]]
    rows[3] |= {"title": "", "text": "One sentence that is a passage."}
    rows[5]["text"] = f"{rows[5]['text']} One sentence that is a passage."
    whole = list(dict.fromkeys(map(join_passage, rows)))
    sentences = dict.fromkeys(text for row in rows for text in split_sentences(row["text"]))
    parts = [s for s in sentences if count_words(s) >= MIN_WORDS and s not in whole]
    for count in (0, 1, 7, 1000):
        expected = [
            *random.Random("3|passages to align").sample(whole, min(count, len(whole))),
            *random.Random("3|sentences to align").sample(parts, min(count, len(parts))),
        ]
        assert draw_texts(Align(passages=count, sentences=count), 3, rows).documents == expected
