"""What is learnt from a teacher's vectors, and spread, against loops."""

import pytest
import torch
from helpers import reference_losses
from helpers.reference_losses import draw_columns, draw_unit_vectors

from distill.train.objectives.align import compute_alignment, make_projection
from distill.train.objectives.gor import compute_gor
from distill.train.objectives.teacher.relative_order import MARGIN, compute_relative_order
from distill.train.objectives.teacher.similarity_matrix import compare_similarity_matrices


def test_alignment_is_the_cosine_distance():
    vectors = draw_unit_vectors(3, 8)
    assert compute_alignment(vectors, vectors).item() == pytest.approx(0, abs=1e-6)
    assert compute_alignment(vectors, -vectors).item() == pytest.approx(2)
    assert compute_alignment(5 * vectors, vectors).item() == pytest.approx(0, abs=1e-6)


def test_alignment_by_l2_is_the_squared_distance():
    student, teacher = draw_unit_vectors(3, 8), draw_unit_vectors(3, 8, seed=1)
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = [sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) for s, t in rows]
    l2 = compute_alignment(student, teacher, "l2")
    assert float(l2) == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert torch.allclose(l2, 2 * compute_alignment(student, teacher))  # of unit vectors
    assert compute_alignment(5 * teacher, teacher, "l2").item() == pytest.approx(16)


def test_projection_is_there_only_where_widths_differ_and_follows_the_seed():
    assert not list(make_projection(8, 8, seed=1).parameters())
    first, again, other = (make_projection(8, 12, seed=s) for s in (1, 1, 2))
    assert first(draw_unit_vectors(3, 8)).shape == (3, 12)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_similarity_matrix_is_compared_entry_by_entry():
    student, teacher = draw_unit_vectors(5, 8), draw_unit_vectors(5, 12, seed=1)
    expected = reference_losses.similarity_matrix(student, teacher)
    assert float(compare_similarity_matrices(student, teacher)) == pytest.approx(expected, rel=1e-5)
    turn = torch.linalg.qr(draw_unit_vectors(12, 12, seed=2))[0]
    assert compare_similarity_matrices(3 * teacher @ turn, teacher).item() == pytest.approx(
        0, abs=1e-6
    )


def test_relative_order_comes_to_that_of_all_pairs_of_pairs():
    student, teacher = draw_unit_vectors(5, 8), draw_unit_vectors(5, 12, seed=1)
    expected = reference_losses.relative_order(student, teacher, MARGIN)
    sampled = compute_relative_order(student, teacher, seed=3, samples=200_000)
    assert float(sampled) == pytest.approx(expected, rel=0.02)


def test_relative_order_is_at_peace_with_the_teachers_own_order():
    teacher = draw_unit_vectors(6, 12, seed=1)
    assert compute_relative_order(teacher, teacher, seed=0, margin=0.0).item() == pytest.approx(
        0, abs=1e-6
    )
    assert compute_relative_order(-teacher, teacher, seed=0, margin=0.0).item() == pytest.approx(
        0, abs=1e-6
    )
    assert (
        compute_relative_order(draw_unit_vectors(6, 12, seed=2), teacher, seed=0, margin=0.0).item()
        > 0.05
    )


def test_relative_order_is_drawn_by_its_seed_and_leaves_torchs_state_alone():
    student, teacher = draw_unit_vectors(9, 8), draw_unit_vectors(9, 12, seed=1)
    state = torch.get_rng_state()
    first = compute_relative_order(student, teacher, seed=1, samples=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, compute_relative_order(student, teacher, seed=1, samples=50))
    assert not torch.equal(first, compute_relative_order(student, teacher, seed=2, samples=50))


@pytest.mark.parametrize("texts", [1, 2])
def test_too_few_texts_to_compare_cost_nothing(texts):
    student = draw_unit_vectors(texts, 8).requires_grad_()
    loss = compute_relative_order(student, draw_unit_vectors(texts, 12), seed=0)
    assert loss.item() == 0
    loss.backward()


def test_gor_is_the_mean_and_second_moment_of_each_columns_cosines():
    vectors = draw_columns(6, 1)
    assert float(compute_gor(vectors)) == pytest.approx(reference_losses.gor(vectors), rel=1e-4)
    crowded = [torch.nn.functional.normalize(v + 1, dim=-1) for v in vectors]
    assert float(compute_gor(crowded)) == pytest.approx(reference_losses.gor(crowded), rel=1e-4)
    assert compute_gor(crowded) > 10 * compute_gor(vectors)


def test_wrong_shapes_say_what_was_got_and_expected():
    with pytest.raises(ValueError, match=r"student's vectors: got \(3, 8\), expected \(3, 12\)"):
        compute_alignment(draw_unit_vectors(3, 8), draw_unit_vectors(3, 12))
    with pytest.raises(ValueError, match=r"student's vectors: got \(3, 8\), expected \(4, 8\)"):
        compare_similarity_matrices(draw_unit_vectors(3, 8), draw_unit_vectors(4, 12))
    with pytest.raises(ValueError, match=r"student's vectors: got \(3, 8\), expected \(4, 8\)"):
        compute_relative_order(draw_unit_vectors(3, 8), draw_unit_vectors(4, 12), seed=0)
