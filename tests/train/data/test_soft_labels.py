"""Soft scores stand in the order of an example's columns, from labels or a teacher's table."""

import math

import pytest
from helpers.training_by_hand import make_example_rows, make_recipe, train_in
from pydantic import ValidationError

from distill.errors import UserError
from distill.recipe import Train
from distill.recipe.needs import score_source
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, LABELS, TEACHER_SCORES, Row, Table
from distill.train.data.label_scores import score_candidates
from distill.train.data.soft_labels import (
    check_scores,
    list_score_sources,
    read_scored_examples,
)
from distill.train.settings import TrainingSettings


def write(run: Run, table: Table, name: str, parts: list[list[Row]]) -> Stage:
    stage = run.open_stage(name, {"rows": parts})
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
    rows = make_example_rows()
    further = rows[0] | {"query_id": "q0+2", "positive_id": "p3"}
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[rows[0], further, rows[1]], [rows[2]]])
        first = [label("q0", "p0", -1.0), label("q0", "p3", -2.0), label("q1", "p6", -3.0)]
        second = [label("q2", "p2", None), label("q2", "p7", -5.0), label("q1", "p1", -9.0)]
        labels = write(run, LABELS, "labels", [first, second])
        others = write(run, EXAMPLES, "examples-labelled", [[rows[3]]])
        train = train_on("ql", kl=1.0)
        found = [scored.scores for scored in read_scored_examples(examples, train, labels, None)]
        of_others = [*read_scored_examples(others, train, labels, None)]
    assert found[:2] == [[-1.0], [-2.0]]
    assert math.isnan(found[2][0])  # judged in another shard, which is another query's
    assert found[2][1] == -3.0
    assert math.isnan(found[3][0])
    assert found[3][1] == -5.0
    assert all(math.isnan(score) for score in of_others[0].scores)


def test_teachers_scores_are_found_by_example(tmp_path):
    rows = make_example_rows()[:3]
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
        found = [*read_scored_examples(examples, train_on("teacher", kl=1.0), None, scores)]
    assert [scored.scores for scored in found[:2]] == [[0.0], [1.0, 1.5]]
    assert all(math.isnan(score) for score in found[2].scores)


COSENT = {"objective": {"cosent": 1.0}}


def test_pairs_with_a_score_of_their_own_keep_it(tmp_path):
    """A query that was written from a passage has the retriever's score, whatever its task."""
    row = make_example_rows()[0] | {"task_type": "sentence similarity"}
    rows = [row | {"seed_id": ""}, row, row | {"seed_id": "", "task_type": "search"}]
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [rows])
        found = [*read_scored_examples(examples, make_recipe("x", train=COSENT).train, None, None)]
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
        for n, row in enumerate(make_example_rows())
    ]
    stage = train_in(tmp_path / "pairs", make_recipe(encoder_folder, train=COSENT), rows)
    assert stage.manifest["figures"]["loss_first"] > 0


@pytest.mark.bad_input("student", "soft labels that nobody scored", "refused")
def test_scores_that_are_not_there_are_refused():
    for source in ("teacher", "ql"):
        with pytest.raises(UserError, match=f"scores '{source}'.*no table"):
            check_scores(train_on(source, kl=1.0), None, None)
    check_scores(train_on("ql", infonce=1.0), None, None)


def test_objective_has_one_source_of_scores():
    two = judged({"objective": {"kl": 1, "margin_mse": 1}, "kl": {"scores": "ql"}})
    with pytest.raises(UserError, match=r"different scores \(ql, teacher\)"):
        score_source(two)
    stages = [
        {"name": "one", "objective": {"kl": 1}, "kl": {"scores": "ql"}},
        {"name": "two", "objective": {"margin_mse": 1}},
    ]
    assert list_score_sources(judged({"stages": stages})) == {"ql", "teacher"}


def test_list_can_be_of_all_that_was_judged_the_seed_among_it(tmp_path):
    row = make_example_rows()[1] | {"positive_id": "p3", "seed_id": "p1"}  # which lost its place
    train = judged({"objective": {"kl": 1}, "kl": {"scores": "ql", "candidates": "all"}})
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[row]])
        scores = {"p1": -1.0, "p3": -2.0, "p6": -3.0, "p8": None}
        rows = [label("q1", passage, score) for passage, score in scores.items()]
        labels = write(run, LABELS, "labels", [rows])
        (found,) = read_scored_examples(examples, train, labels, None)
    assert found.others == ("p1",)  # nothing is learnt of p8, and it is not encoded
    assert found.scores == [-2.0, -3.0, -1.0]


def learn_from(tmp_path, kl: dict, row: Row, rows: list[Row], teacher: Stage | None = None):
    train = judged({"objective": {"kl": 1}, "kl": kl})
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[row]])
        labels = write(run, LABELS, "labels", [rows])
        (found,) = read_scored_examples(examples, train, labels, teacher)
    return found


def test_list_that_is_cut_has_the_seed_and_covers_the_range_of_scores(tmp_path):
    row = make_example_rows()[1] | {"positive_id": "p3", "seed_id": "p1"}  # and the negative p6
    scores = {"p1": -4.1, "p3": -1.0, "p6": -4.0, "p8": -1.1, "p7": -2.5, "p9": -3.9, "p2": None}
    rows = [label("q1", passage, score) for passage, score in scores.items()]
    kl = {"scores": "ql", "candidates": "all"}
    found = learn_from(tmp_path / "cut", {**kl, "max_candidates": 4}, row, rows)
    assert found.others == ("p1", "p7")
    assert found.scores == [-1.0, -4.0, pytest.approx(-4.1), -2.5]
    most = learn_from(tmp_path / "short", {**kl, "max_candidates": 6}, row, rows)
    assert most.others == ("p1", "p8", "p7", "p9")


def test_seed_is_learnt_where_it_is_in_the_list(tmp_path):
    row = make_example_rows()[1] | {"positive_id": "p3", "seed_id": "p1"}
    rows = [label("q1", passage, None) for passage in ("p1", "p3", "p6")]
    all_of_them = {"scores": "seed", "candidates": "all"}
    assert learn_from(tmp_path / "all", all_of_them, row, rows).scores == [0.0, 0.0, 1.0]
    with pytest.raises(UserError, match="no scores 'seed'") as refused:
        learn_from(tmp_path / "chosen", {"scores": "seed"}, row, rows)
    assert "candidates: all" in refused.value.remedy
    of_a_log = row | {"seed_id": ""}
    with pytest.raises(UserError, match="no scores 'seed'"):
        learn_from(tmp_path / "log", all_of_them, of_a_log, rows)


def test_teacher_may_be_a_part_of_a_mixture(tmp_path):
    """Of the chosen candidates, which alone it has scored."""
    row = make_example_rows()[1]
    rows = [label("q1", passage, -n) for n, passage in enumerate(("p2", "p1", "p6"), start=1)]
    told = {"query_id": "q1", "teacher": "big", "scale": "cosine"}
    scores = [told | {"positive_score": 0.1, "negative_scores": [0.9]}]
    with Run(tmp_path / "teacher") as run:
        teacher = write(run, TEACHER_SCORES, "teacher-scores", [scores])
    mixture = {"scores": {"teacher": 2.0, "ql": 0.5}}
    found = learn_from(tmp_path / "both", mixture, row, rows, teacher)
    assert found.scores == pytest.approx([-1.5, 1.5])
    assert list_score_sources(judged({"objective": {"kl": 1}, "kl": mixture})) == {"teacher", "ql"}


def worth(passage_id: str, similarity: float, bm25: float | None) -> Row:
    return label("q1", passage_id, None) | {"similarity": similarity, "bm25": bm25}


def test_query_is_scored_among_all_its_candidates(tmp_path):
    """Not among the two that were chosen, each of which would be 1 or -1."""
    row = make_example_rows()[1]  # of p1, against p6
    rows = [worth("p6", 0.5, 5.0), worth("p2", 0.2, 0.0), worth("p1", 0.4, 8.0)]

    def learnt(scores: str) -> list[float]:
        train = judged({"objective": {"margin_mse": 1}, "margin_mse": {"scores": scores}})
        return next(read_scored_examples(examples, train, labels, None)).scores

    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[row]])
        labels = write(run, LABELS, "labels", [rows])
        assert learnt("bm25") == [8.0, 5.0]
        p6, _, p1 = score_candidates(rows, "", "hybrid", 0.5, {}).values()
        assert learnt("hybrid") == pytest.approx([p1, p6])
    assert min(p1, p6) > 0


@pytest.mark.bad_input("student", "labels of a run that BM25 did not rank", "refused")
@pytest.mark.parametrize("scores", ["bm25", "hybrid"])
def test_labels_without_the_scores_that_are_to_be_learnt_are_refused(tmp_path, scores):
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [make_example_rows()[:1]])
        labels = write(run, LABELS, "labels", [[label("q0", "p0", -1.0)]])
        with pytest.raises(UserError, match=f"no scores '{scores}'") as refused:
            list(read_scored_examples(examples, train_on(scores, kl=1.0), labels, None))
    assert "bm25 among relabel.rankers" in refused.value.remedy


def test_share_of_bm25_changes_a_fingerprint_only_where_it_is_set():
    assert "bm25_share" not in Train().list_fingerprinted()
    assert Train(bm25_share=0.3).list_fingerprinted()["bm25_share"] == 0.3


@pytest.mark.bad_input("recipe", "soft labels that no ranker gives", "refused, with the ranker")
@pytest.mark.parametrize("term", ["kl", "margin_mse"])
@pytest.mark.parametrize(
    ("scores", "rankers", "sources", "fault"),
    [
        ("bm25", ["ql", "retriever"], ["dense"], "add bm25 to relabel.rankers"),
        ("hybrid", ["ql", "retriever"], ["dense", "bm25"], "add bm25 to relabel.rankers"),
        ("rc", ["ql", "retriever"], ["dense"], "add rc to relabel.rankers"),
        ("ql_sum", ["rc"], ["dense"], "add ql to relabel.rankers"),
        ("cross_encoder", ["rc"], ["dense"], "add cross_encoder to relabel.rankers"),
        ({"rc": 1, "graded": 1}, ["rc"], ["dense"], "add graded to relabel.rankers"),
        ("retriever", ["bm25"], ["bm25"], "without dense among retriever.sources"),
        ("hybrid", ["bm25"], ["bm25"], "without dense among retriever.sources"),
    ],
)
def test_soft_labels_that_no_ranker_gives_are_refused(term, scores, rankers, sources, fault):
    settings = {
        "relabel": {"rankers": rankers},
        "retriever": {"sources": sources},
        "train": {"objective": {term: 1.0}, term: {"scores": scores}},
    }
    named = scores if isinstance(scores, str) else ", ".join(scores)
    with pytest.raises(ValidationError, match=rf"train\.{term}\.scores {named}: .*{fault}"):
        make_recipe("x", **settings)


def test_bm25_may_teach_without_a_part_in_the_fusion():
    rule = {"rankers": ["retriever", "bm25"], "weights": {"bm25": 0}}
    train = {"objective": {"kl": 1.0}, "kl": {"scores": "hybrid"}}
    assert make_recipe("x", relabel=rule, train=train).relabel.judges == ["bm25"]


@pytest.mark.bad_input(
    "recipe", "soft labels on another scale than the labels'", "refused, naming both keys"
)
@pytest.mark.parametrize(
    ("kl", "per_token", "fault"),
    [
        ({"scores": "ql"}, False, "ql_per_token must be true"),
        ({"scores": "ql_sum"}, True, "ql_per_token must be false"),
        ({"scores": "teacher", "candidates": "all"}, True, "candidates all"),
        ({"scores": {"teacher": 1, "ql": 1}, "candidates": "all"}, True, "candidates all"),
        ({"scores": "ql", "max_candidates": 4}, True, "is for candidates: all"),
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


@pytest.mark.bad_input(
    "recipe", "relations of candidates that no judgement gives", "refused, naming the keys"
)
@pytest.mark.parametrize(
    ("more", "settings", "fault"),
    [
        ({}, {"scores": "graded"}, "add graded to relabel.rankers"),
        ({}, {"scores": "seed"}, "neither teacher nor seed judges all candidates"),
        ({}, {"relevant": 1, "irrelevant": 2}, r"irrelevant \(2\) is above relevant \(1\)"),
        ({"kl": 1}, {"scores": "rc"}, "two of train.stages"),
    ],
    ids=str,
)
def test_relations_that_no_judgement_gives_are_refused(more, settings, fault):
    train = {"objective": {"multi_positive": 1, **more}, "multi_positive": settings}
    with pytest.raises(ValidationError, match=fault):
        make_recipe("x", relabel={"rankers": ["rc"]}, train=train)


def test_judgement_against_the_seed_makes_it_no_negative(tmp_path):
    row = make_example_rows()[1] | {"positive_id": "p3", "seed_id": "p1"}  # and the negative p6
    train = make_recipe("x", train={"objective": {"multi_positive": 1}}).train
    judged_rc = {"p3": -1.0, "p6": -2.0, "p1": -3.0, "p8": 1.0}
    rows = [label("q1", passage, None) | {"rc": rc} for passage, rc in judged_rc.items()]
    with Run(tmp_path) as run:
        examples = write(run, EXAMPLES, "examples", [[row]])
        labels = write(run, LABELS, "labels", [rows])
        (found,) = read_scored_examples(examples, train, labels, None)
    assert found.others == ("p1", "p8")
    assert found.scores == [-1.0, -2.0, pytest.approx(math.nan, nan_ok=True), 1.0]


def test_mixture_takes_the_likelihood_of_tokens_or_of_the_query():
    train = {"objective": {"kl": 1.0}, "kl": {"scores": {"ql": 1, "retriever": 1}}}
    for per_token in (True, False):
        recipe = make_recipe("x", relabel={"ql_per_token": per_token}, train=train)
        assert recipe.train.kl.scores == {"ql": 1.0, "retriever": 1.0}


@pytest.mark.bad_input(
    "recipe", "a mixture of soft labels that is none", "refused, with the names that there are"
)
@pytest.mark.parametrize(
    ("scores", "fault"),
    [
        ("qll", "'qll' is no soft score: name one of teacher, ql"),
        ({}, "is no soft score"),
        (["ql"], "is no soft score"),
        ({"hybrid": 1.0}, "'hybrid' cannot be a part of a mixture: name some of teacher"),
        ({"ql": 0}, "weight of ql is 0: give a number above 0"),
        ({"ql": "much"}, "weight of ql is much"),
        ({"ql": True}, "a number is expected|weight of ql is True"),
    ],
    ids=str,
)
def test_mixture_that_is_none_is_refused(scores, fault):
    with pytest.raises(ValidationError, match=fault) as refused:
        Train(kl={"scores": scores})
    assert refused.value.error_count() == 1


def test_names_of_soft_labels_have_the_fingerprint_that_they_had():
    assert "multi_positive" not in Train().list_fingerprinted()
    assert "multi_positive" not in Train().list_fingerprinted()["objective"]
    kl = Train(kl={"scores": "hybrid"}).list_fingerprinted()["kl"]
    assert kl == {
        "scores": "hybrid",
        "standardise": False,
        "temperature": 0.05,
        "student_temperature": 0.05,
    }


@pytest.mark.bad_input(
    "recipe", "soft labels of hard negatives in a round of seeds", "refused, naming the term"
)
@pytest.mark.parametrize(("term", "scores"), [("kl", "retriever"), ("margin_mse", "teacher")])
def test_first_round_without_hard_negatives_has_no_list_to_learn(term, scores):
    train = {"objective": {"infonce": 1.0, term: 1.0}, term: {"scores": scores}}
    rule = {"rounds": 2, "first_round": "seed"}
    with pytest.raises(ValidationError, match=f"no hard negatives, and train.objective.{term}"):
        make_recipe("x", relabel=rule, train=train)
    labelled = {"methods": ["fret", "brainstorm"]}  # which bring hard negatives of their own
    make_recipe("x", relabel=rule, train=train, generate=labelled)


def test_lists_of_a_cascade_have_a_fingerprint_of_their_own():
    rule = {"rankers": ["rc", "bm25"], "cascade": {"by": ["bm25"]}}

    def is_marked(scores: str, relabel: dict) -> bool:
        kl = {"scores": scores, "candidates": "all"}
        recipe = make_recipe("x", relabel=relabel, train={"objective": {"kl": 1.0}, "kl": kl})
        return TrainingSettings.select(recipe).learns_cascaded_lists

    assert is_marked("rc", rule)
    assert not is_marked("bm25", rule)
    assert not is_marked("rc", {"rankers": ["rc"]})


def test_first_round_without_a_judge_may_learn_the_seed_and_the_retriever():
    rounds = {"rounds": 2, "first_round": "seed", "rankers": ["rc"]}
    for scores, fault in (("seed", None), ("retriever", None), ("rc", "judges nothing")):
        train = {"objective": {"kl": 1.0}, "kl": {"scores": scores, "candidates": "all"}}
        if fault is None:
            make_recipe("x", relabel=rounds, train=train)
        else:
            with pytest.raises(ValidationError, match=fault):
                make_recipe("x", relabel=rounds, train=train)
