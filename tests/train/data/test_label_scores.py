"""Soft scores of a query's candidates: one ranker's, or a mixture's."""

import math

import pytest
import torch

from distill.recipe import KL
from distill.store.tables import LABELS, Row
from distill.train.data.label_scores import score_candidates
from distill.train.objectives.kl import make_kl_target


def label(number: int, **scores: float | None) -> Row:
    names = {"query_id": "q", "passage_id": f"p{number}", "similarity": 0.1, "rrf": 0.5}
    return dict.fromkeys(LABELS.columns) | names | scores


def score(labels, choice, seed_id="p0", bm25_share=0.5, teacher=None):
    return [*score_candidates(labels, seed_id, choice, bm25_share, teacher or {}).values()]


ALL = [
    label(
        n,
        similarity=n / 7,
        ql=-n - 0.5,
        rc=(n - 2.0) ** 2,
        graded=float(n % 3),
        listwise=-float(n),
        cross_encoder=math.sin(n),
        bm25=n**3.0,
        rrf=1 / (n + 1),
    )
    for n in range(6)
]
COLUMNS = {"retriever": "similarity"} | {
    name: name for name in ("ql", "rc", "graded", "listwise", "cross_encoder", "bm25", "rrf")
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_ranker_teaches_and_alone_in_a_mixture_it_teaches_the_same(name):
    alone = score(ALL, name)
    assert alone == [row[COLUMNS[name]] for row in ALL]
    mixture = torch.tensor([score(ALL, {name: 3.0})])
    standardised = KL(scores=name, standardise=True, temperature=0.1)
    torch.testing.assert_close(
        make_kl_target(mixture, KL(scores={name: 3.0}, temperature=0.3)),
        make_kl_target(torch.tensor([alone]), standardised),
    )


def test_fused_score_of_a_query_that_no_ranker_ranked_is_unknown():
    rows = [label(n, similarity=n / 7, rrf=0.0) for n in range(3)]
    for choice in ("rrf", {"rrf": 1.0, "retriever": 1.0}):
        assert all(map(math.isnan, score(rows, choice)))


def test_mixture_does_not_heed_the_scale_and_offset_of_its_parts():
    other = [row | {"ql": 40 * row["ql"] + 7, "rc": row["rc"] / 9 - 1} for row in ALL]
    mixture = {"ql": 0.7, "rc": 0.3}
    assert score(other, mixture) == pytest.approx(score(ALL, mixture))


def test_mixture_is_the_product_of_its_parts_distributions():
    """Each to the power of its weight, as a product of experts has it."""
    parts = {
        name: make_kl_target(torch.tensor([score(ALL, name)]), KL(standardise=True, temperature=1))
        for name in ("cross_encoder", "retriever")
    }
    product = parts["cross_encoder"] ** 0.7 * parts["retriever"] ** 0.3
    mixture = torch.tensor([score(ALL, {"cross_encoder": 0.7, "retriever": 0.3})])
    torch.testing.assert_close(
        make_kl_target(mixture, KL(temperature=1)), product / product.sum(1, keepdim=True)
    )


def test_hybrid_is_the_mixture_of_the_retriever_and_bm25():
    for share in (0.0, 0.25, 1.0):
        mixture = {"retriever": 1 - share, "bm25": share}
        assert score(ALL, "hybrid", bm25_share=share) == score(ALL, mixture)


def test_seed_has_all_mass_whatever_the_temperature():
    seed = torch.tensor([score(ALL, "seed", "p4")])
    for settings in (KL(scores="seed", temperature=9), KL(scores="seed", standardise=True)):
        assert make_kl_target(seed, settings).tolist() == [[0, 0, 0, 0, 1, 0]]


def test_query_without_a_seed_has_the_other_parts_of_a_mixture():
    assert score(ALL, {"retriever": 1.0, "seed": 2.0}, "") == score(ALL, {"retriever": 1.0})
    assert score(ALL, {"retriever": 1.0, "seed": 2.0})[0] > 0


def worth(number: int, similarity: float, bm25: float | None) -> Row:
    return label(number, similarity=similarity, bm25=bm25)


def test_hybrid_adds_similarity_and_bm25_on_one_scale():
    rows = [worth(1, 0.1, 0.0), worth(3, 0.3, 8.0)]
    assert score(rows, "hybrid") == pytest.approx([-1.0, 1.0])
    turned = [worth(1, 0.1, 9.0), worth(3, 0.3, 8.0)]
    assert score(turned, "hybrid") == pytest.approx([0.0, 0.0])
    assert score(turned, "hybrid", bm25_share=0.25) == pytest.approx([-0.5, 0.5])
    assert score(turned, "hybrid", bm25_share=1.0) == pytest.approx([1.0, -1.0])


def test_parts_of_a_mixture_have_mean_0_and_deviation_1_over_all_candidates():
    for name in COLUMNS:
        scores = score(ALL, {name: 1.0})
        assert sum(scores) == pytest.approx(0, abs=1e-9)
        assert sum(one**2 for one in scores) / len(ALL) == pytest.approx(1)


def test_score_that_all_candidates_share_says_nothing():
    rows = [worth(1, 0.1, 0.0), worth(3, 0.3, 0.0)]
    assert score(rows, "hybrid") == pytest.approx([-0.5, 0.5])
    assert score(rows[:1], "hybrid") == [0.0]


def test_candidate_that_one_part_does_not_know_has_no_part_in_the_others():
    rows = [worth(1, 0.1, 0.0), worth(2, 0.9, None), worth(3, 0.3, 8.0)]
    first, unknown, last = score(rows, "hybrid")
    assert math.isnan(unknown)
    assert [first, last] == pytest.approx([-1.0, 1.0])


def test_query_without_candidates_has_no_scores():
    assert score([], {"ql": 1.0}) == []
