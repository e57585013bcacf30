"""Ranks and their fusion."""

import pytest
from helpers.relabel_rows import candidate, prepare

from distill.recipe import Recipe, Relabel
from distill.relabel.fuse import make_label_rows, make_labels
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import JUDGEMENTS, LABELS


def candidates(ranks):
    """A rank of None is a seed that was missed."""
    return [
        candidate("q", f"p{i}" if rank else f"-p{i}", rank or 0) for i, rank in enumerate(ranks)
    ]


def scores(**by_ranker):
    return {
        ranker: {("q", f"p{i}"): value for i, value in enumerate(values) if value is not None}
        for ranker, values in by_ranker.items()
    }


def labels(ranks, judged, **rule):
    return make_label_rows(candidates(ranks), judged, Relabel(**rule))


def test_rrf_sums_reciprocal_ranks_without_constant_as_in_gecko():
    rows = labels(
        [1, 2, 3], scores(ql=[-9.0, -3.0, -5.0], rc=[0.1, 0.3, -0.2]), rankers=["ql", "rc"]
    )
    assert [row["ql_rank"] for row in rows] == [3, 1, 2]
    assert [row["rc_rank"] for row in rows] == [2, 1, 3]
    assert [row["rrf"] for row in rows] == pytest.approx([1 / 3 + 1 / 2, 2.0, 1 / 2 + 1 / 3])


def test_rrf_with_its_constant_and_the_retriever_as_a_ranker():
    rows = labels([1, 2], scores(ql=[-2.0, -1.0]), rankers=["ql", "retriever"], rrf_k=60)
    assert [row["rrf"] for row in rows] == pytest.approx([1 / 62 + 1 / 61] * 2)
    assert rows[0]["rc"] is None
    assert rows[0]["rc_rank"] is None


def test_rrf_weighs_rankers():
    rows = labels(
        [1, 2],
        scores(ql=[-2.0, -1.0]),
        rankers=["ql", "retriever"],
        weights={"ql": 3.0},
    )
    assert [row["rrf"] for row in rows] == pytest.approx([3 / 2 + 1, 3 + 1 / 2])


def test_rrf_ranks_a_missed_seed_behind_what_was_retrieved():
    rows = labels([1, 2, None], {}, rankers=["retriever"])
    assert [row["retriever_rank"] for row in rows] == [1, 2, 3]


def test_rrf_ranks_equal_scores_in_the_retrievers_order():
    rows = labels([2, 1, 3], scores(ql=[-1.0, -1.0, -1.0]), rankers=["ql"])
    assert [row["ql_rank"] for row in rows] == [2, 1, 3]


def test_rrf_ranks_what_a_cascade_left_last_in_the_order_of_its_first_judgement():
    rows = labels(
        [1, 2, 3, 4],
        scores(rc=[0.1, 0.9, 0.2, 0.8], ql=[None, -9.0, None, -1.0]),
        rankers=["ql", "rc"],
        cascade={"by": ["rc"], "keep": 2},
    )
    assert [row["ql_rank"] for row in rows] == [None, 2, None, 1]
    assert [row["ql"] for row in rows] == [None, -9.0, None, -1.0]
    assert [row["rrf"] for row in rows] == pytest.approx(
        [1 / 4 + 1 / 4, 1 / 2 + 1, 1 / 3 + 1 / 3, 1 + 1 / 2]
    )


def test_rrf_ranks_what_a_ranker_could_not_judge_behind_what_it_judged():
    rows = labels([1, 2, 3], scores(ql=[None, -3.0, -2.0]), rankers=["ql"])
    assert [row["ql_rank"] for row in rows] == [None, 2, 1]
    assert sorted(range(3), key=lambda i: -rows[i]["rrf"]) == [2, 1, 0]
    none_judged = labels([1, 2], {}, rankers=["ql"])
    assert [row["ql"] for row in none_judged] == [None, None]
    assert none_judged[0]["rrf"] > none_judged[1]["rrf"]


def test_rrf_labels_have_their_scores_where_shards_are_more_than_their_names_are_wide(tmp_path):
    asked = [("why", f"p{n}") for n in range(24)]
    recipe = Recipe(name="r", relabel={"rankers": ["ql"], "shard_size": 1, "block": 4})

    def made(folder, wide):
        with Run(folder) as run:
            texts = {seed: seed for _, seed in asked}
            found = [[seed] for _, seed in asked]
            candidates = prepare(run, texts, asked, found, shard_size=1)[-1]
            judgements = run.stage("judgements-ql", {}, [candidates])
            rows = [
                {
                    "query_id": f"q{n}",
                    "passage_id": f"p{n}",
                    "ranker": "ql",
                    "score": -float(n),
                    "tokens": 1,
                }
                for n in range(len(asked))
            ]
            judgements.map_shards(JUDGEMENTS, rows, lambda row: ShardResult([row]))
            judgements.finish()
            for stage in () if wide else (candidates, judgements):
                for path in stage.folder.glob("*.parquet"):
                    path.rename(path.with_name(f"part-{int(path.stem[5:])}.parquet"))
            labels = make_labels(run, recipe.relabel, candidates, {"ql": (judgements, candidates)})
            return labels.rows(LABELS)

    narrow = made(tmp_path / "narrow", wide=False)
    assert narrow == made(tmp_path / "wide", wide=True)
    assert [row["ql"] for row in narrow] == [-float(n) for n in range(24)]
