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
def test_solution_is_that_of_the_dense_normal_equations(ridge, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 7)
    monkeypatch.setattr(module, "_COLUMNS", 4)
    counts, targets = make_problem()
    dense = counts.toarray()
    expected = np.linalg.solve(dense.T @ dense + ridge * np.eye(40), dense.T @ targets)
    vectors = solve_ridge(counts, lambda rows: targets[rows], ridge, np.zeros((40, 9), np.float32))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 100.0])
def test_ridge_towards_a_prior_is_that_of_what_the_prior_leaves(ridge, monkeypatch):
    monkeypatch.setattr(module, "_COLUMNS", 4)
    counts, targets = make_problem()
    dense = counts.toarray()
    prior = np.random.default_rng(2).normal(size=(40, 9)).astype(np.float32)
    factor = (dense @ prior * targets).sum() / np.square(dense @ prior).sum()
    left = targets - factor * dense @ prior
    expected = factor * prior + np.linalg.solve(
        dense.T @ dense + ridge * np.eye(40), dense.T @ left
    )
    vectors = solve_ridge(counts, lambda rows: targets[rows], ridge, prior)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_token_of_no_text_has_its_prior_at_the_scale_of_the_others():
    counts, _ = make_problem()
    wider = csr_array((counts.data, counts.indices, counts.indptr), (60, 41))
    prior = np.random.default_rng(2).normal(size=(41, 9)).astype(np.float32)
    targets = (2 * (wider @ prior)).astype(np.float32)
    vectors = solve_ridge(wider, lambda rows: targets[rows], 1.0, prior)
    np.testing.assert_allclose(vectors, 2 * prior, rtol=1e-4)


def test_texts_that_say_the_same_give_their_vector_in_the_limit():
    counts = csr_array(np.eye(3))
    targets = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    vectors = solve_ridge(counts, lambda rows: targets[rows], 0.25, np.zeros((3, 4), np.float32))
    np.testing.assert_allclose(vectors, targets / 1.25, rtol=1e-5)
