"""Contrast with several positives against pairs in loops, values and gradients; and what has no
part in it."""

import math

import pytest
import torch
from helpers import reference_losses
from helpers.reference_losses import draw_columns, number_texts

from distill.recipe import InfoNCE, MultiPositive
from distill.train.objectives.infonce import compute_infonce
from distill.train.objectives.multi_positive import compute_multi_positive, count_relations, relate

NAN = math.nan
SCORES = torch.tensor(
    [
        [-3.0, 2.0, 0.5, -1.0],  # its own positive is one whatever the judge says
        [1.0, NAN, NAN, NAN],
        [NAN, -2.0, -0.5, 3.0],
        [0.0, 0.0, -4.0, NAN],
        [2.0, 1.0, 1.0, 1.0],  # no negative of its own
    ]
)
REPEATED = torch.tensor(
    [
        [0, 10, 20, 21, 22],
        [1, 10, 22, 23, 24],  # the first one's positive, and a candidate of it
        [2, 25, 26, 27, 28],
        [0, 29, 30, 31, 32],  # the first one's query
        [4, 33, 33, 34, 34],  # texts that stand there twice
    ]
)
CASES = [
    {"loss": "pairwise"},
    {"loss": "contrast"},
    {"loss": "pairwise", "relevant": 1.0, "irrelevant": -0.7},
    {"loss": "contrast", "relevant": 1.0, "irrelevant": -0.7},
]


@pytest.mark.parametrize("keys", CASES, ids=str)
@pytest.mark.parametrize("numbers", [number_texts(5, 3), REPEATED], ids=["distinct", "repeated"])
@pytest.mark.parametrize("in_batch", [None, [True, False, True, True, False]])
def test_loss_and_gradients_are_those_of_all_pairs(numbers, keys, in_batch):
    settings = MultiPositive(temperature=0.3, **keys)
    mask = None if in_batch is None else torch.tensor(in_batch)
    ours, theirs = ([v.clone().requires_grad_() for v in draw_columns(5, 3)] for _ in range(2))
    loss = compute_multi_positive(ours, numbers, SCORES, settings, mask)
    expected = reference_losses.multi_positive(theirs, numbers, SCORES, settings, mask)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-6)


@pytest.mark.parametrize("loss", ["pairwise", "contrast"])
def test_multi_positive_with_one_positive_is_infonce(loss):
    """With every hard negative for all, and without other queries."""
    vectors, numbers = draw_columns(6, 2), number_texts(6, 2)
    scores = torch.full((6, 3), -1.0)
    ours = compute_multi_positive(vectors, numbers, scores, MultiPositive(loss=loss))
    settings = InfoNCE(same_tower=False, hard_negatives="shared")
    assert torch.allclose(ours, compute_infonce(vectors, numbers, settings, 0.05))


def test_relations_are_one_matrix_of_queries_and_documents():
    numbers = torch.tensor([[0, 10, 11, 12], [1, 13, 10, 14], [0, 15, 16, 17]])
    scores = torch.tensor([[0.0, 2.0, -2.0], [0.0, NAN, -2.0], [0.0, 0.2, NAN]])
    settings = MultiPositive(relevant=1.0, irrelevant=-1.0)
    assert relate(numbers, scores, settings).tolist() == [
        [1, 1, -1, -1, 0, -1, 0, 0, 0],
        [0, -1, -1, 1, 0, -1, -1, -1, -1],
        [0, 0, 0, -1, -1, -1, 1, 0, 0],
    ]


@pytest.mark.parametrize("loss", ["pairwise", "contrast"])
def test_document_of_which_nobody_knows_sends_no_gradient(loss):
    scores = torch.tensor([[1.0, NAN, -1.0]])
    vectors = [v.requires_grad_() for v in draw_columns(1, 2)]
    compute_multi_positive(vectors, number_texts(1, 2), scores, MultiPositive(loss=loss)).backward()
    assert torch.count_nonzero(vectors[2].grad) == 0
    assert torch.count_nonzero(vectors[3].grad) > 0


def test_positives_are_no_negatives_of_each_other():
    """A positive that is nearer than another does not push that away."""
    query = torch.tensor([[1.0, 0.0]])
    near, far, none = (torch.tensor([v]) for v in ([1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]))
    vectors = [query, near, far.requires_grad_(), none]
    scores = torch.tensor([[1.0, 1.0, -1.0]])
    compute_multi_positive(
        vectors, number_texts(1, 2), scores, MultiPositive(temperature=1.0)
    ).backward()
    assert far.grad[0, 0] < 0, "a step against the gradient brings it to the query"


def test_batch_without_a_negative_costs_nothing_and_sends_no_gradient():
    vectors = [v.requires_grad_() for v in draw_columns(1, 1)]
    loss = compute_multi_positive(
        vectors, number_texts(1, 1), torch.tensor([[1.0, 1.0]]), MultiPositive()
    )
    loss.backward()
    assert loss.item() == 0
    assert all(torch.count_nonzero(v.grad) == 0 for v in vectors)


def test_wrong_shapes_say_what_was_got_and_expected():
    with pytest.raises(ValueError, match=r"scores: got \(2, 1\), expected \(2, 2\)"):
        compute_multi_positive(
            draw_columns(2, 1), number_texts(2, 1), torch.zeros(2, 1), MultiPositive()
        )


def test_relations_are_counted_over_the_lists_that_were_judged():
    lists = [[0.0, 2.0, -2.0, NAN], [NAN, NAN], [-9.0, -1.0]]
    assert count_relations(lists, MultiPositive()) == (2, 1.5, 1.0, 0.5)
    assert count_relations([[NAN]], MultiPositive()) is None
