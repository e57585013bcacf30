"""Soft labels against loops, against the library's losses where every score is known, and with
scores missing."""

import math

import pytest
import torch
from helpers import reference_losses
from helpers.reference_losses import draw_columns, draw_unit_vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

from distill.recipe.sections.objective import KL, MarginMSE
from distill.train.objectives.cosent import compute_cosent
from distill.train.objectives.kl import compute_kl
from distill.train.objectives.margin_mse import compute_margin_mse

NAN = math.nan


def some_scores(rows: int, candidates: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(rows, candidates, generator=generator)


SPARSE = torch.tensor([[0.9, NAN, 0.1], [NAN, 0.5, NAN], [NAN, NAN, NAN], [0.3, 0.4, 0.2]])


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("scores", [some_scores(4, 3), SPARSE], ids=["full", "sparse"])
def test_kl_is_the_divergence_of_each_list(scores, standardise):
    vectors = draw_columns(4, 2)
    asked = KL(standardise=standardise, temperature=0.7, student_temperature=0.1)
    expected = reference_losses.kl(vectors, scores, standardise, 0.7, 0.1)
    assert float(compute_kl(vectors, scores, asked)) == pytest.approx(expected, rel=1e-4)


def test_kl_of_full_lists_is_the_librarys_but_for_its_scale():
    vectors, scores = draw_columns(4, 3), some_scores(4, 4)
    library = DistillKLDivLoss(None, student_temperature=0.1, teacher_temperature=0.7)
    theirs = library.compute_loss_from_embeddings(vectors, scores) / 0.1**2
    assert torch.allclose(
        compute_kl(vectors, scores, KL(temperature=0.7, student_temperature=0.1)), theirs
    )


def test_kl_is_nothing_once_the_student_agrees():
    vectors = draw_columns(4, 3)
    similarities = torch.stack([(vectors[0] * d).sum(-1) for d in vectors[1:]], dim=1)
    assert float(compute_kl(vectors, similarities, KL())) == pytest.approx(0, abs=1e-6)
    offset = KL(standardise=True, temperature=1.0)
    assert torch.allclose(
        compute_kl(vectors, 300 * similarities - 7, offset),
        compute_kl(vectors, similarities, offset),
        atol=1e-5,
    )


def test_margin_mse_of_full_lists_is_the_loop_and_the_librarys():
    vectors, scores = draw_columns(4, 3), some_scores(4, 4)
    ours = compute_margin_mse(vectors, scores, MarginMSE(scale=0.5))
    assert float(ours) == pytest.approx(reference_losses.margin_mse(vectors, scores, 0.5), rel=1e-5)
    theirs = MarginMSELoss(None).compute_loss_from_embeddings(vectors, 0.5 * scores)
    assert torch.allclose(ours, theirs)


def test_margin_mse_leaves_out_margins_of_which_an_end_is_unknown():
    vectors = draw_columns(4, 2)
    known = [0, 3, 3], [1, 0, 1]  # of SPARSE: a negative in the first list, both in the last
    similarity = [(vectors[0] * d).sum(-1) for d in vectors[1:]]
    errors = [
        (similarity[0][i] - similarity[1 + n][i] - (SPARSE[i, 0] - SPARSE[i, 1 + n])) ** 2
        for i, n in zip(*known, strict=True)
    ]
    assert torch.allclose(
        compute_margin_mse(vectors, SPARSE, MarginMSE()), torch.stack(errors).mean()
    )


def test_equal_scores_are_standardised_to_no_preference():
    vectors = draw_columns(2, 2)
    equal = torch.full((2, 3), -1.7)
    asked = MarginMSE(standardise=True)
    similarity = torch.stack([(vectors[0] * d).sum(-1) for d in vectors[1:]], dim=1)
    margins = (similarity[:, :1] - similarity[:, 1:]).square().mean()
    assert torch.allclose(compute_margin_mse(vectors, equal, asked), margins)


LOSSES = {
    "kl": lambda v, s: compute_kl(v, s, KL()),
    "kl standardised": lambda v, s: compute_kl(v, s, KL(standardise=True)),
    "margin_mse": lambda v, s: compute_margin_mse(v, s, MarginMSE()),
    "margin_mse standardised": lambda v, s: compute_margin_mse(v, s, MarginMSE(standardise=True)),
    "cosent": lambda v, s: compute_cosent(v, s[:, 0]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_batch_without_scores_costs_nothing_and_sends_no_gradient(name):
    vectors = [v.requires_grad_() for v in draw_columns(3, 2)]
    loss = LOSSES[name](vectors, torch.full((3, 3), NAN))
    assert loss.item() == 0
    (loss + vectors[0].sum() * 0).backward()
    assert all(v.grad is None or not v.grad.any() for v in vectors)


score = st.one_of(st.just(NAN), st.floats(-3, 3, width=32))


@pytest.mark.parametrize("name", LOSSES)
@given(rows=st.lists(st.tuples(score, score, score), min_size=1, max_size=4), data=st.data())
@settings(max_examples=40, deadline=None)
def test_passages_without_a_score_change_no_soft_label_loss(name, rows, data):
    """Neither its vector nor rows of which nothing is known; and there is never a NaN."""
    scores = torch.tensor(rows)
    vectors = [v.requires_grad_() for v in draw_columns(len(rows), 2)]
    loss = LOSSES[name](vectors, scores)
    (loss + sum(v.sum() * 0 for v in vectors)).backward()
    assert all(torch.isfinite(v.grad).all() for v in vectors)
    unknown = scores.isnan()
    other = draw_unit_vectors(len(rows), 16, seed=11)
    moved = [
        vectors[0],
        *(torch.where(unknown[:, i, None], other, v) for i, v in enumerate(vectors[1:])),
    ]
    assert torch.allclose(LOSSES[name](moved, scores), loss, atol=1e-6)
    longer = [torch.cat([v, other[:1]]) for v in vectors]
    with_unknown = torch.cat([scores, torch.full((1, 3), NAN)])
    assert torch.allclose(LOSSES[name](longer, with_unknown), loss, atol=1e-6)
    order = data.draw(st.permutations(range(len(rows))))
    shuffled = LOSSES[name]([v[order] for v in vectors], scores[order])
    assert torch.allclose(shuffled, loss, atol=1e-4)


def test_cosent_is_the_sum_over_ordered_pairs():
    vectors, scores = draw_columns(5, 0), [0.0, 1.0, 0.5, 0.5, 0.2]
    expected = reference_losses.cosent(vectors, scores)
    assert float(compute_cosent(vectors, torch.tensor(scores))) == pytest.approx(expected, rel=1e-5)


def test_wrong_shapes_say_what_was_got_and_expected():
    with pytest.raises(ValueError, match=r"scores: got \(4, 2\), expected \(4, 3\)"):
        compute_kl(draw_columns(4, 2), some_scores(4, 2), KL())
    with pytest.raises(ValueError, match=r"scores: got \(3, 3\), expected \(4, 3\)"):
        compute_margin_mse(draw_columns(4, 2), some_scores(3, 3), MarginMSE())
    with pytest.raises(ValueError, match=r"scores: got \(4, 1\), expected \(4,\)"):
        compute_cosent(draw_columns(4, 0), some_scores(4, 1))
