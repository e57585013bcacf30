"""Queries of which a ranker judged nothing: its replies were refused, cut off or unreadable."""

import random

import pytest
from helpers.label_rows import OF_TEXTS, make_label, make_query, make_relabel_recipe, prepare_labels
from helpers.relabel_rows import make_candidate

from distill.recipe import Relabel
from distill.relabel.choose import choose_examples, make_examples
from distill.relabel.fuse import make_label_rows
from distill.report.markdown.report import write_report
from distill.store.run import Run
from distill.store.tables import DROPPED, EXAMPLES, read_shard

FOUND = [make_candidate("q", id_, rank) for rank, id_ in enumerate(("a", "b", "seed", "c"), 1)]


def choose(seed_id="seed", judged=None, **rule):
    """The positive and the negatives of a query that the retriever found a first for, and c last;
    None for a dropped one."""
    made = Relabel(**rule)
    labels = make_label_rows(FOUND, judged or {}, made)
    choice = choose_examples(labels, seed_id, OF_TEXTS, made, random.Random(1))
    if choice is None:
        return None
    return tuple([row["passage_id"] for row in rows] for rows in choice[:2])


@pytest.mark.parametrize("positive", ["first", "margin", "seed"])
def test_seed_stays_the_positive_where_no_ranker_gave_a_verdict(positive):
    assert choose(rankers=["listwise"], positive=positive) == (["seed"], ["c"])
    assert choose(rankers=["ql", "rc"], positive=positive, more_positives=0.0)[0] == ["seed"]


def test_query_without_seed_and_verdict_is_dropped():
    assert choose(seed_id="", rankers=["listwise"]) is None
    assert choose(seed_id="", rankers=["listwise", "retriever"]) == (["a"], ["c"])


def test_query_of_unknown_relevance_is_dropped_where_positives_have_to_reach_one():
    assert choose(rankers=["rc"], min_relevance=0.0) is None
    by_ql = {"ql": {("q", "b"): -1.0, ("q", "a"): -2.0}}
    assert choose(judged=by_ql, rankers=["ql", "rc"])[0] == ["b"]
    assert choose(judged=by_ql, rankers=["ql", "rc"], min_relevance=0.0) is None


def test_queries_without_a_verdict_keep_their_seed_or_are_dropped_and_counted(tmp_path):
    queries = [make_query("q1"), make_query("q2", ""), make_query("q3", "b")]
    unranked = [
        make_label(id_, 0.0, rank, query)
        for query in ("q1", "q2")
        for rank, id_ in enumerate(("a", "seed"), start=1)
    ]
    ranked = [make_label("b", 2.0, 2, "q3", rc=1.0, rc_rank=1), make_label("a", 1.0, 1, "q3")]
    with Run(tmp_path / "run") as run:
        prepared = prepare_labels(run, queries, [unranked, ranked], rankers=["rc"])
        recipe = make_relabel_recipe(tmp_path, shard_size=2, rankers=["rc"])
        *inputs, candidates = prepared
        stage = make_examples(run, recipe.relabel, recipe.seed, *inputs, candidates)
    rows = stage.read_rows(EXAMPLES)
    assert [(row["query_id"], row["positive_id"]) for row in rows] == [("q1", "seed"), ("q3", "b")]
    counts = stage.manifest["counts"]
    assert counts["seeds kept as no ranker gave a verdict"] == 1
    assert counts["dropped: no ranker gave a verdict on it"] == 1
    (dropped,) = read_shard(DROPPED, stage.metadata_dir / "dropped-part-00000.parquet")
    assert dropped["item_id"] == "q2"
    figures = stage.manifest["figures"]
    assert figures["seed_rank"]["fusion"]["share_first"] == 1
    assert figures["rrf_first_minus_last"] == 1
    assert "seeds kept as no ranker gave a verdict" in write_report(tmp_path / "run").read_text()
