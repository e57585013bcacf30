"""The closed form of token vectors, against a dense solution."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from distill.train.static import ridge as module
from distill.train.static.ridge import solve_ridge


def make_problem(texts: int = 60, tokens: int = 40) -> tuple[csr_array, np.ndarray]:
    counts = random_array((texts, tokens), density=0.1, rng=np.random.default_rng(0)).tocsr()
    return counts, np.random.default_rng(1).normal(size=(texts, 9)).astype(np.float32)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 100.0])
def test_the_solution_is_that_of_the_dense_normal_equations(ridge, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr(module, "_COLUMNS", 4)
    counts, targets = make_problem()
    dense = counts.toarray()
    expected = np.linalg.solve(dense.T @ dense + ridge * np.eye(40), dense.T @ targets)
    vectors = solve_ridge(counts, lambda rows: targets[rows], ridge)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_a_token_of_no_text_has_the_vector_zero():
    counts, targets = make_problem()
    wider = csr_array((counts.data, counts.indices, counts.indptr), (60, 41))
    vectors = solve_ridge(wider, lambda rows: targets[rows], 1.0)
    assert not vectors[40].any()
    assert np.abs(vectors[:40]).max() > 0


def test_texts_that_say_the_same_give_their_vector_in_the_limit():
    counts = csr_array(np.eye(3))
    targets = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    vectors = solve_ridge(counts, lambda rows: targets[rows], 0.25)
    np.testing.assert_allclose(vectors, targets / 1.25, rtol=1e-5)
