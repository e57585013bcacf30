"""The choice of positive and negatives."""

import random

import pytest

from distill.recipe import Relabel
from distill.relabel.choose import choose


def labels(rrf_by_id):
    return [
        {
            "query_id": "q",
            "passage_id": id_,
            "rrf": rrf,
            "retriever_rank": rank,
            "ql_rank": 10 - rank,
        }
        for rank, (id_, rrf) in enumerate(rrf_by_id.items(), start=1)
    ]


ROWS = labels({"a": 0.5, "b": 2.0, "seed": 1.0, "c": 0.2, "d": 0.3})


def chosen(rows=ROWS, **rule):
    choice = choose(rows, "seed", Relabel(**rule), random.Random(1))
    assert choice is not None
    return choice.positive["passage_id"], [row["passage_id"] for row in choice.negatives]


def test_the_first_by_fusion_becomes_positive_and_the_last_negative():
    assert chosen(negative_count=2) == ("b", ["c", "d"])


def test_the_seed_can_be_kept():
    assert chosen(positive="seed") == ("seed", ["c"])


def test_the_seed_is_never_a_negative():
    rows = labels({"a": 0.5, "b": 2.0, "seed": 0.1})
    assert chosen(rows, negative_count=5) == ("b", ["a"])


def test_a_range_of_ranks():
    positive, negatives = chosen(negatives="range", negative_range=(3, 4), negative_count=5)
    assert positive == "b"
    assert sorted(negatives) == ["a", "d"]


def test_sampled_negatives_depend_on_the_seed_alone():
    first = chosen(negatives="sampled", negative_count=2)
    assert first == chosen(negatives="sampled", negative_count=2)
    assert first[0] == "b"
    assert set(first[1]) < {"a", "c", "d"}


def test_fewer_than_asked_stays_fewer():
    assert len(chosen(negatives="sampled", negative_count=50)[1]) == 3


@pytest.mark.parametrize(("rankers", "positive"), [(["retriever", "ql"], "x"), (["ql"], "y")])
def test_the_first_named_ranker_breaks_ties(rankers, positive):
    rows = labels({"x": 1.0, "y": 1.0, "seed": 0.5, "z": 0.1})
    assert chosen(rows, rankers=rankers)[0] == positive
