"""Duplicates by SQLite and MinHash: as by comparing all pairs, idempotent, in constant memory."""

import random
import tracemalloc

import pytest
from helpers.tiny_models import TEXTS

from distill.generate.filters.duplicates import (
    QueryDeduplicator,
    choose_band_rows,
    compute_jaccard,
    make_bands,
    make_character_shingles,
    make_ordinal,
    normalize_query,
)
from distill.text.normalize import split_comparable_words


def reasons(file, queries, exact=True, near=None, sketched=False):
    """Each query's reason, one query after the other. `sketched`: their bands are made before."""
    found = []
    with QueryDeduplicator(file, exact, near) as seen:
        for place, query in enumerate(queries):
            bands = make_bands(query, near) if sketched else None
            found.append(seen.find_reason(query, place, bands))
            if found[-1] is None:
                seen.add(query, place)
    return found


@pytest.fixture
def variants() -> list[str]:
    """400 queries of which many differ by a word or a letter."""
    draw = random.Random(3)
    found = []
    for _ in range(400):
        asked = split_comparable_words(draw.choice(TEXTS))
        if draw.random() < 0.6:
            asked[draw.randrange(len(asked))] = draw.choice(["sea", "stone", "of", "very"])
        if draw.random() < 0.5:
            asked.append(draw.choice(["why", "today", "in winter"]))
        found.append(" ".join(asked))
    return found


def test_exact_duplicates_are_of_the_same_words(tmp_path):
    queries = ["How high?", "how HIGH", "high how", "how high", "how high is it"]
    dup = "exact duplicate"
    assert reasons(tmp_path / "seen", queries) == [None, dup, None, dup, None]
    assert reasons(tmp_path / "seen", queries, exact=False) == [None] * 5


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_near_duplicates_are_those_of_all_pairs(tmp_path, variants, threshold):
    kept, expected = [], []
    for query in variants:
        mine = make_character_shingles(normalize_query(query))
        near = any(compute_jaccard(mine, other) >= threshold for other in kept)
        expected.append("near duplicate" if near else None)
        if not near:
            kept.append(mine)
    found = reasons(tmp_path / "seen", variants, exact=False, near=threshold)
    assert 10 < expected.count(None) < 380
    # LSH misses a pair at the threshold itself once in a hundred times; none here.
    assert found == expected
    again = reasons(tmp_path / "sketched", variants, False, threshold, sketched=True)
    assert again == expected  # by the bands that a worker makes


def test_bands_find_pairs_at_the_threshold():
    assert [choose_band_rows(t) for t in (0.01, 0.5, 0.8, 0.95)] == [1, 3, 6, 16]


def test_shard_that_is_done_again_is_not_its_own_duplicate(tmp_path):
    queries = ["how high do swifts fly", "how high do owls fly", "how high do swifts fly at night"]
    with QueryDeduplicator(tmp_path / "seen", True, 0.9) as seen:
        for _ in range(2):
            for place, query in enumerate(queries):
                assert seen.find_reason(query, make_ordinal(3, place)) is None
                seen.add(query, make_ordinal(3, place))
        assert seen.find_reason(queries[0], make_ordinal(3, 5)) == "exact duplicate"
        assert seen.find_reason(queries[0] + "?!", make_ordinal(4, 0)) == "exact duplicate"
        # An earlier shard, done again after a later one, owns nothing of it.
        assert seen.find_reason(queries[0], make_ordinal(2, 7)) is None


def test_duplicates_filter_forgets_the_queries_of_a_killed_process(tmp_path):
    left = QueryDeduplicator(tmp_path / "seen", True, 0.8)
    left.__enter__()
    left.add("how high do swifts fly", 0)
    left.flush()
    assert reasons(tmp_path / "seen", ["how high do swifts fly"], near=0.8) == [None]
    assert list(tmp_path.iterdir()) == []


def test_texts_without_letters_or_of_one_letter_can_be_compared(tmp_path):
    assert reasons(tmp_path / "seen", ["", "a", "A", "?"], exact=False, near=0.8) == [
        None,
        None,
        "near duplicate",
        "near duplicate",
    ]


def _peak(file, count):
    """The most memory that Python objects took; SQLite's page cache has a bound of its own."""
    draw = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["".join(draw.choices(letters, k=7)) for _ in range(2000)]
    tracemalloc.start()
    with QueryDeduplicator(file, True, 0.8) as seen:
        for place in range(count):
            query = " ".join(draw.choices(vocabulary, k=6))
            if seen.find_reason(query, place) is None:
                seen.add(query, place)
            if place % 64 == 0:
                seen.flush()
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_queries(tmp_path):
    few, many = _peak(tmp_path / "few", 2_000), _peak(tmp_path / "many", 12_000)
    assert many < 1.5 * few


def test_thai_is_compared_by_runs_of_letters_and_chinese_by_single_ones():
    assert normalize_query("ธารน้ำแข็ง Ice!") == normalize_query("ธารน้ำแข็ง  ICE")
    assert " " not in normalize_query("ธารน้ำแข็ง")
    assert normalize_query("冰川 is") == "冰 川 is"
    assert normalize_query("") == ""
