"""Soft scores stand in the order of an example's columns, from labels or a teacher's table."""

import math

import pytest
from helpers.training_by_hand import example_rows, make_recipe, train_in
from pydantic import ValidationError

from distill.errors import UserError
from distill.recipe import KL, Train
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, LABELS, TEACHER_SCORES, Row, Table
from distill.train.data.soft_labels import (
    check_scores,
    fuse_hybrid_scores,
    read_scored_examples,
    score_source,
    score_sources,
)
from distill.train.objectives.kl import measure_softness


def write(run: Run, table: Table, name: str, parts: list[list[Row]]) -> Stage:
    stage = run.stage(name, {"rows": parts})
    stage.map_shards(table, parts, ShardResult)
    stage.finish()
    return stage


def label(query_id: str, passage_id: str, ql: float | None) -> Row:
    return dict.fromkeys(LABELS.columns) | {
        "query_id": query_id,
        "passage_id": passage_id,
        "similarity": 0.1,
        "retriever_rank": 1,
        "ql": ql,
        "rrf": 0.5,
    }


def train_on(scores: str, **terms: float):
    return judged({"objective": terms, "kl": {"scores": scores}})


def judged(train: dict) -> Train:
    rule = {"ql_per_token": True, "rankers": ["ql", "bm25"]}
    return make_recipe("x", relabel=rule, train=train).train


def test_labels_are_found_by_query_and_passage(tmp_path):
    rows = example_rows()
    further = rows[0] | {"query_id": "q0+2", "positive_id": "p3"}
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[rows[0], further, rows[1]], [rows[2]]])
        first = [label("q0", "p0", -1.0), label("q0", "p3", -2.0), label("q1", "p6", -3.0)]
        second = [label("q2", "p2", None), label("q2", "p7", -5.0), label("q1", "p1", -9.0)]
        labels = write(run, LABELS, "labels", [first, second])
        others = write(run, EXAMPLES, "examples-labelled", [[rows[3]]])
        train = train_on("ql", kl=1.0)
        found = [scored.scores for scored in read_scored_examples(examples, train, labels, None)]
        of_others = read_scored_examples(others, train, labels, None)
    assert found[:2] == [[-1.0], [-2.0]]
    assert math.isnan(found[2][0])  # judged in another shard, which is another query's
    assert found[2][1] == -3.0
    assert math.isnan(found[3][0])
    assert found[3][1] == -5.0
    assert all(math.isnan(score) for score in of_others[0].scores)


def test_a_teachers_scores_are_found_by_example(tmp_path):
    rows = example_rows()[:3]
    teacher = [
        {
            "query_id": row["query_id"],
            "teacher": name,
            "scale": "cosine",
            "positive_score": n + offset,
            "negative_scores": [n + offset + 0.5 for _ in row["negatives"]],
        }
        for n, row in enumerate(rows[:2])
        for name, offset in (("big", 0.0), ("bigger", 100.0))
    ]
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [rows])
        scores = write(run, TEACHER_SCORES, "teacher-scores", [teacher])
        found = read_scored_examples(examples, train_on("teacher", kl=1.0), None, scores)
    assert [scored.scores for scored in found[:2]] == [[0.0], [1.0, 1.5]]
    assert all(math.isnan(score) for score in found[2].scores)


COSENT = {"objective": {"cosent": 1.0}}


def test_pairs_with_a_score_of_their_own_keep_it(tmp_path):
    """A query that was written from a passage has the retriever's score, whatever its task."""
    row = example_rows()[0] | {"task_type": "sentence similarity"}
    rows = [row | {"seed_id": ""}, row, row | {"seed_id": "", "task_type": "search"}]
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [rows])
        found = read_scored_examples(examples, make_recipe("x", train=COSENT).train, None, None)
    assert found[0].scores == [pytest.approx(0.5)]
    assert all(math.isnan(scored.scores[0]) for scored in found[1:])


def test_cosent_needs_pairs_and_a_stage_of_its_own(tmp_path, encoder_folder):
    with pytest.raises(UserError, match=r"cosent has no scored pair"):
        train_in(tmp_path / "run", make_recipe(encoder_folder, train=COSENT))
    both = make_recipe("x", train={"objective": {"cosent": 1.0, "margin_mse": 1.0}}).train
    with pytest.raises(UserError, match=r"cosent: .*margin_mse those of somebody else"):
        score_source(both)
    rows = [
        row | {"task_type": "sts", "seed_id": "", "positive_score": n / 9}
        for n, row in enumerate(example_rows())
    ]
    stage = train_in(tmp_path / "pairs", make_recipe(encoder_folder, train=COSENT), rows)
    assert stage.manifest["figures"]["loss_first"] > 0


@pytest.mark.bad_input("student", "soft labels that nobody scored", "refused")
def test_scores_that_are_not_there_are_refused():
    for source in ("teacher", "ql"):
        with pytest.raises(UserError, match=f"scores '{source}'.*no table"):
            check_scores(train_on(source, kl=1.0), None, None)
    check_scores(train_on("ql", infonce=1.0), None, None)


def test_an_objective_has_one_source_of_scores():
    two = judged({"objective": {"kl": 1, "margin_mse": 1}, "kl": {"scores": "ql"}})
    with pytest.raises(UserError, match=r"different scores \(ql, teacher\)"):
        score_source(two)
    stages = [
        {"name": "one", "objective": {"kl": 1}, "kl": {"scores": "ql"}},
        {"name": "two", "objective": {"margin_mse": 1}},
    ]
    assert score_sources(judged({"stages": stages})) == {"ql", "teacher"}


def test_a_list_can_be_of_all_that_was_judged_the_seed_among_it(tmp_path):
    row = example_rows()[1] | {"positive_id": "p3", "seed_id": "p1"}  # which lost its place
    train = judged({"objective": {"kl": 1}, "kl": {"scores": "ql", "candidates": "all"}})
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[row]])
        scores = {"p1": -1.0, "p3": -2.0, "p6": -3.0, "p8": None}
        rows = [label("q1", passage, score) for passage, score in scores.items()]
        labels = write(run, LABELS, "labels", [rows])
        (found,) = read_scored_examples(examples, train, labels, None)
    assert found.others == ("p1", "p8")
    assert found.scores[:3] == [-2.0, -3.0, -1.0]
    assert math.isnan(found.scores[3])


def worth(passage_id: str, similarity: float, bm25: float | None) -> Row:
    return label("q1", passage_id, None) | {"similarity": similarity, "bm25": bm25}


def test_a_hybrid_adds_similarity_and_bm25_on_one_scale():
    rows = [worth("p1", 0.1, 0.0), worth("p3", 0.3, 8.0)]
    assert fuse_hybrid_scores(rows, 0.5) == pytest.approx([-1.0, 1.0])
    turned = [worth("p1", 0.1, 9.0), worth("p3", 0.3, 8.0)]
    assert fuse_hybrid_scores(turned, 0.5) == pytest.approx([0.0, 0.0])
    assert fuse_hybrid_scores(turned, 0.25) == pytest.approx([-0.5, 0.5])
    assert fuse_hybrid_scores(turned, 1.0) == pytest.approx([1.0, -1.0])


def test_the_parts_of_a_hybrid_have_mean_0_and_deviation_1_over_all_candidates():
    rows = [worth(f"p{n}", n / 7, n**2) for n in range(5)]
    for share in (0.0, 1.0):
        scores = fuse_hybrid_scores(rows, share)
        assert sum(scores) == pytest.approx(0, abs=1e-9)
        assert sum(score**2 for score in scores) / 5 == pytest.approx(1)


def test_a_score_that_all_candidates_share_says_nothing():
    rows = [worth("p1", 0.1, 0.0), worth("p3", 0.3, 0.0)]
    assert fuse_hybrid_scores(rows, 0.5) == pytest.approx([-0.5, 0.5])
    assert fuse_hybrid_scores(rows[:1], 0.5) == [0.0]


def test_a_candidate_without_bm25_has_no_hybrid_and_no_part_in_the_others():
    rows = [worth("p1", 0.1, 0.0), worth("p2", 0.9, None), worth("p3", 0.3, 8.0)]
    first, unknown, last = fuse_hybrid_scores(rows, 0.5)
    assert math.isnan(unknown)
    assert [first, last] == pytest.approx([-1.0, 1.0])


def test_a_query_is_scored_among_all_its_candidates(tmp_path):
    """Not among the two that were chosen, each of which would be 1 or -1."""
    row = example_rows()[1]  # of p1, against p6
    rows = [worth("p6", 0.5, 5.0), worth("p2", 0.2, 0.0), worth("p1", 0.4, 8.0)]

    def learnt(scores: str) -> list[float]:
        train = judged({"objective": {"margin_mse": 1}, "margin_mse": {"scores": scores}})
        return read_scored_examples(examples, train, labels, None)[0].scores

    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[row]])
        labels = write(run, LABELS, "labels", [rows])
        assert learnt("bm25") == [8.0, 5.0]
        p6, _, p1 = fuse_hybrid_scores(rows, 0.5)
        assert learnt("hybrid") == pytest.approx([p1, p6])
    assert min(p1, p6) > 0


@pytest.mark.bad_input("student", "labels of a run that BM25 did not rank", "refused")
@pytest.mark.parametrize("scores", ["bm25", "hybrid"])
def test_labels_without_the_scores_that_are_to_be_learnt_are_refused(tmp_path, scores):
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [example_rows()[:1]])
        labels = write(run, LABELS, "labels", [[label("q0", "p0", -1.0)]])
        with pytest.raises(UserError, match=f"no scores '{scores}'") as refused:
            read_scored_examples(examples, train_on(scores, kl=1.0), labels, None)
    assert "bm25 among relabel.rankers" in refused.value.remedy


def test_the_share_of_bm25_changes_a_fingerprint_only_where_it_is_set():
    assert "bm25_share" not in Train().fingerprinted()
    assert Train(bm25_share=0.3).fingerprinted()["bm25_share"] == 0.3


@pytest.mark.bad_input("recipe", "soft labels that no ranker gives", "refused, with the ranker")
@pytest.mark.parametrize("term", ["kl", "margin_mse"])
@pytest.mark.parametrize(
    ("scores", "rankers", "sources", "fault"),
    [
        ("bm25", ["ql", "retriever"], ["dense"], "add bm25 to relabel.rankers"),
        ("hybrid", ["ql", "retriever"], ["dense", "bm25"], "add bm25 to relabel.rankers"),
        ("rc", ["ql", "retriever"], ["dense"], "add rc to relabel.rankers"),
        ("ql_sum", ["rc"], ["dense"], "add ql to relabel.rankers"),
        ("hybrid", ["bm25"], ["bm25"], "without dense among retriever.sources"),
    ],
)
def test_soft_labels_that_no_ranker_gives_are_refused(term, scores, rankers, sources, fault):
    settings = {
        "relabel": {"rankers": rankers},
        "retriever": {"sources": sources},
        "train": {"objective": {term: 1.0}, term: {"scores": scores}},
    }
    with pytest.raises(ValidationError, match=rf"train\.{term}\.scores {scores}: .*{fault}"):
        make_recipe("x", **settings)


def test_bm25_may_teach_without_a_part_in_the_fusion():
    rule = {"rankers": ["retriever", "bm25"], "weights": {"bm25": 0}}
    train = {"objective": {"kl": 1.0}, "kl": {"scores": "hybrid"}}
    assert make_recipe("x", relabel=rule, train=train).relabel.judges == ["bm25"]


def test_how_soft_labels_are():
    flat = measure_softness([[1.0, 1.0], [2.0, 2.0], [5.0]], KL())
    assert (flat.lists, flat.top_probability) == (2, 0.5)
    assert flat.entropy == pytest.approx(math.log(2), abs=1e-4)
    hard = measure_softness([[0.0, -9.0, math.nan]], KL(temperature=0.25))
    assert hard.top_probability > 0.99
    assert hard.entropy < 0.01
    assert measure_softness([[1.0], [math.nan, 1.0]], KL()) is None


@pytest.mark.bad_input(
    "recipe", "soft labels on another scale than the labels'", "refused, naming both keys"
)
@pytest.mark.parametrize(
    ("kl", "per_token", "fault"),
    [
        ({"scores": "ql"}, False, "ql_per_token must be true"),
        ({"scores": "ql_sum"}, True, "ql_per_token must be false"),
        ({"scores": "teacher", "candidates": "all"}, True, "candidates all"),
    ],
)
def test_soft_labels_that_do_not_fit_the_labels_are_refused(kl, per_token, fault):
    with pytest.raises(ValidationError, match=fault):
        make_recipe(
            "x",
            "teacher",
            relabel={"ql_per_token": per_token},
            train={"objective": {"kl": 1.0}, "kl": kl},
        )
