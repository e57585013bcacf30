"""Ranks and their fusion."""

import pytest
from helpers.relabel_rows import make_candidate, prepare_candidates
from pydantic import ValidationError

from distill.recipe import Recipe, Relabel
from distill.relabel.fuse import make_label_rows, make_labels
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import JUDGEMENTS, LABELS


def candidates(ranks):
    """A rank of None is a seed that was missed."""
    return [
        make_candidate("q", f"p{i}" if rank else f"-p{i}", rank or 0)
        for i, rank in enumerate(ranks)
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


def test_rrf_leaves_out_a_ranker_that_judged_none_of_a_querys_candidates():
    rule = {"rankers": ["listwise", "rc"], "weights": {"listwise": 3.0}}
    rows = labels([1, 2, 3], scores(rc=[0.1, 0.9, 0.2]), **rule)
    assert [row["listwise_rank"] for row in rows] == [None] * 3
    assert [row["rrf"] for row in rows] == pytest.approx([1 / 3, 1, 1 / 2])
    assert [row["rrf"] for row in labels([1, 2], {}, rankers=["ql", "rc"])] == [0.0, 0.0]
    by_retriever = labels([2, 1], {}, rankers=["ql", "retriever"])
    assert [row["rrf"] for row in by_retriever] == pytest.approx([1 / 2, 1])
    weighed = {"rankers": ["ql", "retriever"], "weights": {"retriever": 0.0}}
    assert [row["rrf"] for row in labels([2, 1], {}, **weighed)] == [0.0, 0.0]


def test_rrf_after_a_cascade_leaves_out_a_later_ranker_that_judged_no_survivor():
    cascade = {"rankers": ["ql", "rc"], "cascade": {"by": ["rc"], "keep": 2}}
    rows = labels([1, 2, 3], scores(rc=[0.1, 0.9, 0.2]), **cascade)
    assert [row["rrf"] for row in rows] == pytest.approx([1 / 3, 1, 1 / 2])


def test_rrf_labels_have_their_scores_where_shards_are_more_than_their_names_are_wide(tmp_path):
    asked = [("why", f"p{n}") for n in range(24)]
    recipe = Recipe(name="r", relabel={"rankers": ["ql"], "shard_size": 1, "block": 4})

    def made(folder, wide):
        with Run(folder) as run:
            texts = {seed: seed for _, seed in asked}
            found = [[seed] for _, seed in asked]
            _, queries, candidates = prepare_candidates(run, texts, asked, found, shard_size=1)
            judgements = run.open_stage("judgements-ql", {}, [candidates])
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
            labels = make_labels(
                run, recipe.relabel, queries, candidates, {"ql": (judgements, candidates)}
            )
            return labels.read_rows(LABELS)

    narrow = made(tmp_path / "narrow", wide=False)
    assert narrow == made(tmp_path / "wide", wide=True)
    assert [row["ql"] for row in narrow] == [-float(n) for n in range(24)]


def test_queries_without_a_verdict_are_counted_by_ranker(tmp_path):
    rule = Relabel(rankers=["ql", "retriever"], shard_size=2, block=2)
    counts = []
    for silent in ({"q1", "q2"}, set()):
        with Run(tmp_path / str(len(silent))) as run:
            texts, found = {"p0": "text 0", "p1": "text 1"}, [["p0", "p1"]] * 3
            _, queries, candidates = prepare_candidates(run, texts, [("why", "p0")] * 3, found)
            judgements = run.open_stage("judgements-ql", {}, [candidates])
            shards = [
                [
                    {"query_id": q, "passage_id": p, "ranker": "ql", "score": -1.0, "tokens": 1}
                    for q in of
                    if q not in silent
                ]
                for of, p in ((("q0", "q1"), "p0"), (("q0", "q1"), "p1"), (("q2",), "p0"))
            ]
            judgements.map_shards(JUDGEMENTS, shards, ShardResult)
            judgements.finish()
            stages = {"ql": (judgements, candidates)}
            made = make_labels(run, rule, queries, candidates, stages)
            counts.append(made.manifest["counts"])
    assert counts == [{"queries without a verdict of ql": 2}, {}]


TOKENS = {"q0": 2, "q1": 10, "q2": 4, "q3": 5}
SEEDS = [("why", "p0"), ("how", "p1"), ("when", "p2"), ("of a log", "")]
PER_TOKEN = {
    # The seed leads the best other candidate by 3, by 1, and by -1.
    "q0": {"p0": -1.0, "p1": -4.0, "p2": -5.0},
    "q1": {"p1": -2.0, "p0": -3.0, "p2": -6.0},
    "q2": {"p2": -3.0, "p0": -2.0, "p1": -9.0},
    "q3": {"p0": -1.0, "p1": -2.0, "p2": -3.0},
}


def fuse_seeds(folder, **rule):
    """The labels by query and passage, and the stage's figures."""
    recipe = Recipe(name="r", relabel={"rankers": ["ql"], "shard_size": 2, "block": 2, **rule})
    rows = [
        {
            "query_id": query,
            "passage_id": passage,
            "ranker": "ql",
            "score": score * TOKENS[query],
            "tokens": TOKENS[query],
        }
        for query, of_query in PER_TOKEN.items()
        for passage, score in of_query.items()
    ]
    with Run(folder) as run:
        texts = {f"p{n}": f"text {n}" for n in range(3)}
        found = [[*of_query] for of_query in PER_TOKEN.values()]
        _, queries, candidates = prepare_candidates(run, texts, SEEDS, found)
        judgements = run.open_stage("judgements-ql", {}, [candidates])
        blocks = [rows[:2], rows[2:4], rows[4:6], rows[6:8], rows[8:10], rows[10:]]
        judgements.map_shards(JUDGEMENTS, blocks, ShardResult)
        judgements.finish()
        stages = {"ql": (judgements, candidates)}
        labels = make_labels(run, recipe.relabel, queries, candidates, stages)
        by_pair = {(row["query_id"], row["passage_id"]): row for row in labels.read_rows(LABELS)}
        return by_pair, labels.manifest.get("figures", {})


def test_seeds_mean_margin_is_taken_off_its_score_alone(tmp_path):
    plain, none = fuse_seeds(tmp_path / "plain", shard_size=2, ql_per_token=True)
    less, figures = fuse_seeds(tmp_path / "less", seed_margin="auto", ql_per_token=True)
    assert none == {}
    assert figures == {"seed_margin": {"ql": {"margin": 1, "share_first": 0.6667, "queries": 3}}}
    seeds = {(f"q{n}", seed) for n, (_, seed) in enumerate(SEEDS)}
    for pair, row in less.items():
        assert row["ql"] == pytest.approx(plain[pair]["ql"] - (pair in seeds))
    assert [less["q0", "p0"]["ql_rank"], less["q2", "p2"]["ql_rank"]] == [1, 2]
    margins = [
        less[query, seed]["ql"] - max(less[query, p]["ql"] for p in PER_TOKEN[query] if p != seed)
        for query, (_, seed) in zip(PER_TOKEN, SEEDS[:3], strict=False)
    ]
    assert sum(margins) == pytest.approx(0)


def test_margin_is_of_tokens_also_where_scores_are_of_whole_queries(tmp_path):
    by_token, figures = fuse_seeds(tmp_path / "token", seed_margin="auto", ql_per_token=True)
    whole, of_whole = fuse_seeds(tmp_path / "whole", seed_margin="auto")
    assert figures == of_whole
    for pair, row in whole.items():
        assert row["ql"] == pytest.approx(by_token[pair]["ql"] * TOKENS[pair[0]])
        assert row["ql_rank"] == by_token[pair]["ql_rank"]


@pytest.mark.bad_input("recipe", "a seed's margin without a ranker that is the LLM", "refused")
def test_margin_of_no_ranker_is_refused():
    with pytest.raises(ValidationError, match="seed_margin needs the ranker ql, rc or graded"):
        Relabel(rankers=["bm25", "retriever"], seed_margin="auto")
    assert Relabel(rankers=["rc"], seed_margin="auto").seed_margin == "auto"
