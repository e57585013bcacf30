"""Items that hang together: queries that ask for the same documents, and a query in several
languages."""

from dataclasses import replace

import numpy as np
import pytest

from distill.evaluate.samples.answer_groups import group_by_answers
from distill.evaluate.samples.query_groups import ItemLengths, group_queries
from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.retention import estimate_retention
from distill.evaluate.statistics.score_interval import (
    estimate_average_interval,
    estimate_score_interval,
)
from distill.evaluate.statistics.significance import compare_scores, compare_seeds

pytest.importorskip("scipy.stats")

DOCUMENTS, ASKING = 60, 5


def number_groups_of(part="test/default"):
    """Of DOCUMENTS documents with ASKING queries each."""
    return {
        f"{part}/{d:02}-{q}": f"{part}/{d:02}-0" for d in range(DOCUMENTS) for q in range(ASKING)
    }


def make_score(values, groups, task="a"):
    items = dict(zip(sorted(groups), map(float, values), strict=True))
    score = float(np.mean([*items.values()]))
    return TaskScore(task, "Retrieval", "ndcg_at_10", score, items, groups=groups)


def repeat(values):
    """The same value for all queries of a document."""
    return np.repeat(values, ASKING)


def measure(interval):
    low, high = (interval["low"], interval["high"]) if isinstance(interval, dict) else interval
    return high - low


def test_queries_with_the_same_relevant_documents_are_a_group():
    relevant = {
        "q1": {"d1": 1, "d9": 0},
        "q2": {"d1": 2},
        "q3": {"d1": 1, "d2": 1},
        "q4": {"d2": 0},
        "q5": {"d3": 0},
    }
    assert group_by_answers(relevant) == {"q1": "q1", "q2": "q1"}


def test_queries_of_a_document_are_no_surer_than_one_of_them():
    """Five queries a document that all say the same say it once."""
    gaps = np.random.default_rng(0).normal(0.03, 0.2, DOCUMENTS)
    groups = number_groups_of()
    values = repeat(gaps)
    found = compare_scores([make_score(values, groups)], [make_score(0 * values, groups)])[
        "overall"
    ]
    single = {f"t/d/{d:02}": f"t/d/{d:02}" for d in range(60)}
    alone = compare_scores([make_score(gaps, single)], [make_score(0 * gaps, single)])["overall"]
    assert measure(found) == pytest.approx(measure(alone), rel=0.06)
    assert found["p"] == pytest.approx(alone["p"], abs=0.02)
    assert found["items"] == DOCUMENTS * ASKING, "queries are counted, as ever"


def test_interval_holds_the_truth_where_documents_have_several_queries():
    """A document that one model finds and the other does not decides on its five queries. Drawn one
    by one, the interval held the truth in 75 of these 100 samples."""
    rng, groups, held = np.random.default_rng(1), number_groups_of(), 0
    for _ in range(100):
        gaps = repeat(rng.normal(0.02, 0.2, DOCUMENTS)) + rng.normal(0, 0.2, DOCUMENTS * ASKING)
        mine, their = make_score(gaps, groups), make_score(0 * gaps, groups)
        of = compare_scores([mine], [their])["overall"]
        held += of["low"] <= 0.02 <= of["high"]
    assert held >= 90


def test_groups_of_one_model_stand_for_both():
    gaps = repeat(np.random.default_rng(0).normal(0.03, 0.2, DOCUMENTS))
    mine, their = (make_score(of, number_groups_of()) for of in (gaps, 0 * gaps))
    known = compare_scores([mine], [their])
    assert compare_scores([replace(mine, groups={})], [their]) == known
    assert compare_scores([mine], [replace(their, groups={})]) == known


def test_queries_that_all_ask_for_one_document_have_no_interval():
    groups = {f"test/default/q{n}": "test/default/q0" for n in range(8)}
    values = np.linspace(0, 1, 8)
    of = compare_scores([make_score(values, groups)], [make_score(values / 2, groups)])["overall"]
    assert (of["low"], of["p"]) == (None, None)
    assert make_score(values, groups).interval is None


def test_query_in_two_languages_is_drawn_once():
    """Two languages whose differences are alike are no surer than one of them, be they parts of a
    task or tasks of their own."""
    gaps = np.random.default_rng(3).normal(0.03, 0.2, DOCUMENTS * ASKING)
    parts = {part: {f"{part}/{n:03}": "" for n in range(len(gaps))} for part in ("t/de", "t/en")}
    one, other = ({item: item for item in of} for of in parts.values())
    ours, theirs = (
        [make_score(of, one, "de"), make_score(of, one, "en")] for of in (gaps, 0 * gaps)
    )
    alone = compare_scores(ours[:1], theirs[:1])["overall"]
    as_tasks = compare_scores(ours, theirs)
    assert measure(as_tasks["overall"]) == pytest.approx(measure(alone), rel=0.01)
    assert as_tasks["overall"]["p"] == pytest.approx(alone["p"], abs=0.02)
    assert measure(as_tasks["tasks"]["en"]) == pytest.approx(measure(alone), rel=0.06)
    assert measure(compare_seeds([ours], [theirs])) == pytest.approx(measure(alone), rel=0.01)
    both = [make_score([*of, *of], one | other) for of in (gaps, 0 * gaps)]
    as_parts = compare_scores(both[:1], both[1:])["overall"]
    assert measure(as_parts) == pytest.approx(measure(alone), rel=0.01)


def test_languages_that_have_nothing_in_common_are_as_sure_as_ever():
    """Ids that are the same by chance narrow and widen nothing."""
    rng, widths = np.random.default_rng(4), []
    gaps = [rng.normal(0.03, 0.2, 300) for _ in range(2)]
    for shift in (0, 1000):
        ids = [{f"t/d/{n + shift * k:04}": "" for n in range(300)} for k in range(2)]
        ours = [
            make_score(of, {i: i for i in part}, name)
            for of, part, name in zip(gaps, ids, "ab", strict=True)
        ]
        theirs = [replace(of, by_item=dict.fromkeys(of.by_item, 0.0), score=0.0) for of in ours]
        widths.append(measure(compare_scores(ours, theirs)["overall"]))
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_score_and_share_draw_the_queries_of_a_document_together():
    rng, groups = np.random.default_rng(5), number_groups_of()
    teacher = rng.uniform(0.3, 1, DOCUMENTS)
    student = teacher * rng.uniform(0.6, 1, DOCUMENTS)
    single = {f"test/default/{d:02}": {} for d in range(DOCUMENTS)}
    of_groups, of_one = (
        {
            item: {"student": s, "teacher": t}
            for item, s, t in zip(sorted(items), ours, theirs, strict=True)
        }
        for items, ours, theirs in (
            (groups, repeat(student), repeat(teacher)),
            (single, student, teacher),
        )
    )
    told = estimate_retention({"a": of_groups}, ["a"], {"a": groups})
    assert measure(told) == pytest.approx(
        measure(estimate_retention({"a": of_one}, ["a"])), rel=0.1
    )
    scores = [
        {item: of["student"] for item, of in values.items()} for values in (of_groups, of_one)
    ]
    alone = measure(estimate_score_interval("a", scores[1]))
    assert measure(estimate_score_interval("a", scores[0], groups)) == pytest.approx(alone, rel=0.1)
    twice = {"a": scores[0], "b": scores[0]}
    found = estimate_average_interval(twice, {"a": groups, "b": groups})
    assert measure(found) == pytest.approx(alone, rel=0.1)


def test_breakdown_draws_the_queries_of_a_document_together():
    groups = number_groups_of()
    gaps = repeat(np.random.default_rng(6).normal(0.03, 0.1, DOCUMENTS))
    values = {
        item: {"student": 0.5 + gap, "teacher": 0.5}
        for item, gap in zip(sorted(groups), gaps, strict=True)
    }
    lengths = ItemLengths({item: 3 + (n >= 150) for n, item in enumerate(sorted(groups))}, {})
    (found,), (before,) = (group_queries(values, lengths, {}, of) for of in (groups, {}))
    for one, other in zip(found["groups"], before["groups"], strict=True):
        wider = measure(one["from_teacher"]) / measure(other["from_teacher"])
        assert wider == pytest.approx(np.sqrt(ASKING), rel=0.2)
