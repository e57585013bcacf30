"""Ranks and similarities of seed passages are those of all inner products."""

import numpy as np
import pytest
from helpers.query_rows import (
    filter_queries,
    make_filter_recipe,
    make_parsed_row,
    make_passage,
    prepare_parsed,
    read_dropped,
    refuse_llm,
)
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.generate.filters.candidate import attach_passages
from distill.generate.filters.round_trip import (
    DrawBatch,
    SeedSearch,
    make_round_trip_filter,
    make_similarity_filter,
)
from distill.llm.lazy import LazyLLM
from distill.recipe import load_recipe
from distill.relabel.candidates import make_candidates
from distill.retrieve.corpus_index import open_encoder
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.tables import CANDIDATES, QUERIES

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


def filter_by(folder, encoder_folder, by, sources, depth=2):
    """The ids of kept and of dropped queries, and those whose seed is among the candidates."""
    filters = {"round_trip": depth, "round_trip_by": by}
    retriever = {"model": str(encoder_folder), "device": "cpu", "sources": sources}
    relabel = {"top_k": depth}
    recipe = make_filter_recipe(generate={"filters": filters}, retriever=retriever, relabel=relabel)
    every = make_filter_recipe(retriever=retriever, relabel=relabel)
    rows = [make_passage(f"p{n}", text) for n, text in enumerate(TEXTS)]
    with Run(folder, "stale") as run:
        passages, parsed = prepare_parsed(run, [rows], [ASKED])
        unfiltered = filter_queries(run, every, passages, [parsed], LazyLLM(refuse_llm))
        found = make_candidates(run, recipe.retriever, recipe.relabel, passages, unfiltered)
        seeds = {row["query_id"]: row["seed_id"] for row in unfiltered.read_rows(QUERIES)}
        among = {
            row["query_id"]
            for row in found.read_rows(CANDIDATES)
            if row["passage_id"] == seeds[row["query_id"]] and row["rank"] is not None
        }
        stage = filter_queries(run, recipe, passages, [parsed], LazyLLM(refuse_llm))
        kept = {row["query_id"] for row in stage.read_rows(QUERIES)}
        dropped = {item for item, reason, _ in read_dropped(stage) if reason == "round trip"}
    return kept, dropped, among


@pytest.mark.parametrize("sources", [["bm25"], ["dense", "bm25"]])
def test_retriever_drops_what_it_would_not_find_as_candidate(tmp_path, encoder_folder, sources):
    kept, dropped, among = filter_by(tmp_path / "run", encoder_folder, "retriever", sources)
    assert kept == among
    assert dropped == {row["query_id"] for row in ASKED} - among
    by_vectors, _, _ = filter_by(tmp_path / "dense", encoder_folder, "dense", sources)
    assert by_vectors != kept
    assert by_vectors


def test_retriever_of_vectors_alone_leaves_the_fingerprint_as_it_was(run, encoder_folder):
    retriever = {"model": str(encoder_folder), "device": "cpu"}
    rows = [make_passage(f"p{n}", text) for n, text in enumerate(TEXTS)]
    passages, parsed = prepare_parsed(run, [rows], [ASKED])
    marks = set()
    for by in ("dense", "retriever"):
        filters = {"round_trip": 3, "round_trip_by": by}
        recipe = make_filter_recipe(generate={"filters": filters}, retriever=retriever)
        stage = filter_queries(run, recipe, passages, [parsed], LazyLLM(refuse_llm))
        marks.add(stage.fingerprint)
    assert len(marks) == 1


@pytest.mark.bad_input("shape of a recipe", "a least cosine without vectors", "refused by its key")
def test_least_similarity_without_vectors_is_refused():
    filters = "generate.filters={min_similarity: 0.5, round_trip_by: retriever}"
    load_recipe(None, ["name=r", filters])
    with pytest.raises(UserError, match="min_similarity is a cosine"):
        load_recipe(None, ["name=r", filters, "retriever.sources=[bm25]"])
