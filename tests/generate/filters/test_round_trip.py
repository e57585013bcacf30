"""Ranks and similarities of seed passages are those of all inner products."""

import numpy as np
import pytest
from helpers.query_rows import make_filter_recipe, make_parsed_row, make_passage, prepare_parsed
from helpers.tiny_models import TEXTS

from distill.generate.filters.candidate import attach_passages
from distill.generate.filters.round_trip import (
    DrawBatch,
    SeedSearch,
    make_round_trip_filter,
    make_similarity_filter,
)
from distill.retrieve.corpus_index import open_encoder
from distill.store.passages import PassageReader
from distill.store.run import Run

ASKED = [make_parsed_row(f"p{n}", " ".join(text.split()[2:6])) for n, text in enumerate(TEXTS)]


@pytest.fixture
def looked(tmp_path, encoder_folder):
    """The draws after a search of depth 4, and the true (queries, passages) inner products."""
    settings = {"model": str(encoder_folder), "device": "cpu", "query_template": "{task} {query}"}
    retriever = make_filter_recipe(retriever=settings).retriever
    rows = [make_passage(f"p{n}", text) for n, text in enumerate(TEXTS)]
    with Run(tmp_path / "run") as run:
        passages, _ = prepare_parsed(run, [rows[:5], rows[5:]], [ASKED])
        draws = attach_passages(ASKED, PassageReader(passages.folder))
        SeedSearch(run, retriever, passages, 4).search(DrawBatch(draws))
    encoder = open_encoder(retriever)
    whole = [f"{row['task']} {row['query']}" for row in ASKED]
    queries = encoder.encode_prompted(whole, "query")
    return draws, queries @ encoder.encode(TEXTS, "document").T


def test_ranks_and_similarities(looked):
    draws, products = looked
    own = np.diag(products)
    ranks = 1 + (products > own[:, None]).sum(axis=1)
    assert {rank > 4 for rank in ranks} == {True, False}
    assert [d.retrieved.rank for d in draws] == [r if r <= 4 else None for r in ranks.tolist()]
    np.testing.assert_allclose([d.retrieved.similarity for d in draws], own, atol=1e-5)


def test_filters_drop_by_rank_and_by_similarity(looked):
    draws, _ = looked
    for depth in (1, 3):
        expected = [d.retrieved.rank is None or d.retrieved.rank > depth for d in draws]
        assert [make_round_trip_filter(depth)(d) == "round trip" for d in draws] == expected
    least = float(np.median([d.retrieved.similarity for d in draws]))
    fallen = [make_similarity_filter(least)(d) for d in draws]
    assert fallen.count("dissimilar to its passage") == len(draws) // 2
