"""What is learnt from a teacher's vectors, and spread, against loops."""

import pytest
import torch
from helpers import reference_losses as byhand
from helpers.reference_losses import columns, unit

from distill.train.objectives.align import compute_alignment, make_projection
from distill.train.objectives.gor import compute_gor
from distill.train.objectives.teacher.relative_order import MARGIN, compute_relative_order
from distill.train.objectives.teacher.similarity_matrix import compare_similarity_matrices


def test_alignment_is_the_cosine_distance():
    vectors = unit(3, 8)
    assert compute_alignment(vectors, vectors).item() == pytest.approx(0, abs=1e-6)
    assert compute_alignment(vectors, -vectors).item() == pytest.approx(2)
    assert compute_alignment(5 * vectors, vectors).item() == pytest.approx(0, abs=1e-6)


def test_alignment_by_l2_is_the_squared_distance():
    student, teacher = unit(3, 8), unit(3, 8, seed=1)
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = [sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) for s, t in rows]
    l2 = compute_alignment(student, teacher, "l2")
    assert float(l2) == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert torch.allclose(l2, 2 * compute_alignment(student, teacher))  # of unit vectors
    assert compute_alignment(5 * teacher, teacher, "l2").item() == pytest.approx(16)


def test_projection_is_there_only_where_widths_differ_and_follows_the_seed():
    assert not list(make_projection(8, 8, seed=1).parameters())
    first, again, other = (make_projection(8, 12, seed=s) for s in (1, 1, 2))
    assert first(unit(3, 8)).shape == (3, 12)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_similarity_matrix_is_compared_entry_by_entry():
    student, teacher = unit(5, 8), unit(5, 12, seed=1)
    expected = byhand.similarity_matrix(student, teacher)
    assert float(compare_similarity_matrices(student, teacher)) == pytest.approx(expected, rel=1e-5)
    turn = torch.linalg.qr(unit(12, 12, seed=2))[0]
    assert compare_similarity_matrices(3 * teacher @ turn, teacher).item() == pytest.approx(
        0, abs=1e-6
    )


def test_relative_order_comes_to_that_of_all_pairs_of_pairs():
    student, teacher = unit(5, 8), unit(5, 12, seed=1)
    expected = byhand.relative_order(student, teacher, MARGIN)
    sampled = compute_relative_order(student, teacher, seed=3, samples=200_000)
    assert float(sampled) == pytest.approx(expected, rel=0.02)


def test_relative_order_is_at_peace_with_the_teachers_own_order():
    teacher = unit(6, 12, seed=1)
    assert compute_relative_order(teacher, teacher, seed=0, margin=0.0).item() == pytest.approx(
        0, abs=1e-6
    )
    assert compute_relative_order(-teacher, teacher, seed=0, margin=0.0).item() == pytest.approx(
        0, abs=1e-6
    )
    assert compute_relative_order(unit(6, 12, seed=2), teacher, seed=0, margin=0.0).item() > 0.05


def test_relative_order_is_drawn_by_its_seed_and_leaves_torchs_state_alone():
    student, teacher = unit(9, 8), unit(9, 12, seed=1)
    state = torch.get_rng_state()
    first = compute_relative_order(student, teacher, seed=1, samples=50)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, compute_relative_order(student, teacher, seed=1, samples=50))
    assert not torch.equal(first, compute_relative_order(student, teacher, seed=2, samples=50))


@pytest.mark.parametrize("texts", [1, 2])
def test_too_few_texts_to_compare_cost_nothing(texts):
    student = unit(texts, 8).requires_grad_()
    loss = compute_relative_order(student, unit(texts, 12), seed=0)
    assert loss.item() == 0
    loss.backward()


def test_gor_is_the_mean_and_second_moment_of_each_columns_cosines():
    vectors = columns(6, 1)
    assert float(compute_gor(vectors)) == pytest.approx(byhand.gor(vectors), rel=1e-4)
    crowded = [torch.nn.functional.normalize(v + 1, dim=-1) for v in vectors]
    assert float(compute_gor(crowded)) == pytest.approx(byhand.gor(crowded), rel=1e-4)
    assert compute_gor(crowded) > 10 * compute_gor(vectors)


def test_wrong_shapes_say_what_was_got_and_expected():
    with pytest.raises(ValueError, match=r"student's vectors: got \(3, 8\), expected \(3, 12\)"):
        compute_alignment(unit(3, 8), unit(3, 12))
    with pytest.raises(ValueError, match=r"student's vectors: got \(3, 8\), expected \(4, 8\)"):
        compare_similarity_matrices(unit(3, 8), unit(4, 12))
    with pytest.raises(ValueError, match=r"student's vectors: got \(3, 8\), expected \(4, 8\)"):
        compute_relative_order(unit(3, 8), unit(4, 12), seed=0)
