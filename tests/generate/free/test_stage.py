"""The stage `parsed-free`, and a run whose queries need no language model."""

import pytest
from helpers.query_rows import (
    filter_queries,
    make_filter_recipe,
    make_parsed_row,
    make_passage,
    prepare_parsed,
)
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.generate.free.stage import make_free_queries, share_out
from distill.llm.lazy import LazyLLM
from distill.store.run import Run
from distill.store.tables import PARSED, QUERIES

FREE = ["sentences", "titles", "keywords"]
ROWS = [make_passage(f"p{n}", text, f"title of {n}") for n, text in enumerate(TEXTS)]


def no_llm():
    raise AssertionError("an LLM was opened")


def make(folder, rows=ROWS, **generate):
    settings = make_filter_recipe(generate={"methods": FREE, **generate})
    with Run(folder) as run:
        passages, _ = prepare_parsed(run, [rows], [[]])
        return make_free_queries(run, settings.generate, settings.seed, passages).read_rows(PARSED)


def count(rows):
    return {kind: sum(row["task_type"] == kind for row in rows) for kind in FREE}


def test_query_kinds_have_their_share_and_a_seed_passage(tmp_path):
    rows = make(tmp_path / "run", free={"queries": 12, "shares": {"keywords": 2}})
    assert count(rows) == {"sentences": 3, "titles": 3, "keywords": 6}
    assert {row["seed_id"] for row in rows} <= {row["passage_id"] for row in ROWS}
    assert len({row["query_id"] for row in rows}) == 12
    assert {row["llm"] for row in rows} == {"none"}


def test_small_corpus_gives_more_queries_a_passage(tmp_path):
    rows = make(tmp_path / "run", methods=["keywords"], free={"queries": 60, "per_passage": 4})
    assert 40 <= len(rows) <= 48
    assert max(sum(row["seed_id"] == f"p{n}" for row in rows) for n in range(12)) == 4


def test_other_kinds_give_the_queries_that_a_kind_cannot(tmp_path):
    rows = make(tmp_path / "run", [row | {"title": ""} for row in ROWS], free={"queries": 12})
    assert count(rows) == {"sentences": 6, "titles": 0, "keywords": 6}


@pytest.mark.parametrize(
    ("capacity", "shares"),
    [
        ((100, 100, 100), (20, 20, 20)),
        ((100, 4, 100), (28, 4, 28)),
        ((10, 0, 100), (10, 0, 50)),
        ((3, 4, 5), (3, 4, 5)),
    ],
)
def test_share_out_fills_a_gap_by_the_other_kinds(capacity, shares):
    kinds = dict(zip(FREE, capacity, strict=True))
    wanted = {kind: share for kind, share in zip(FREE, shares, strict=True) if share}
    assert share_out(60, dict.fromkeys(FREE, 1.0), kinds) == wanted


def test_free_queries_pass_the_filters_under_their_ids_and_beside_an_llms(tmp_path):
    settings = make_filter_recipe(generate={"methods": ["fret", *FREE], "free": {"queries": 12}})
    with Run(tmp_path / "run") as run:
        passages, written = prepare_parsed(
            run, [ROWS], [[make_parsed_row("p0", "which organ moves blood")]]
        )
        free = make_free_queries(run, settings.generate, settings.seed, passages)
        llm = LazyLLM(no_llm, served=True)
        queries = filter_queries(run, settings, passages, [written, free], llm).read_rows(QUERIES)
    assert queries[0]["query_id"] == "p0~0"
    assert [row["query_id"] for row in queries[1:]] == [
        r["query_id"] for r in free.read_rows(PARSED)
    ]


@pytest.mark.bad_input(
    "corpus", "a corpus without sentences, titles or rare words", "named with what to change"
)
def test_corpus_that_gives_no_query_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no query by generate\.methods"):
        make(tmp_path / "run", [make_passage("p0", "one"), make_passage("p1", "one")])
