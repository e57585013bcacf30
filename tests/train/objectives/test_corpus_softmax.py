"""The softmax over the whole corpus: what its definition says, in chunks and by a sample."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from distill.recipe import CorpusSoftmax
from distill.train.objectives import corpus_softmax
from distill.train.objectives.corpus_softmax import BatchPools, CorpusSoftmaxLoss

DOCUMENTS, WIDTH, BATCH = 40, 8, 5


def unit(*shape, seed):
    vectors = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture
def documents():
    return unit(DOCUMENTS, WIDTH, seed=0)


@pytest.fixture
def queries():
    return torch.tensor(unit(BATCH, WIDTH, seed=1), requires_grad=True)


@pytest.fixture
def pools():
    """Of six candidates each, the last one of probability 0, as a shorter pool's filling is."""
    draw = np.random.default_rng(2)
    rows = np.stack([draw.permutation(DOCUMENTS)[:6] for _ in range(BATCH)])
    target = torch.tensor(draw.normal(size=(BATCH, 5)), dtype=torch.float32).softmax(-1)
    return BatchPools(torch.tensor(rows), F.pad(target, (0, 1)))


def loss_of(vectors, pools, **settings):
    return CorpusSoftmaxLoss(vectors, lambda numbers: pools, CorpusSoftmax(**settings))


def by_definition(documents, queries, pools, temperature=0.05):
    target = torch.zeros(BATCH, DOCUMENTS).scatter_add(1, pools.rows, pools.target)
    return F.cross_entropy(queries @ torch.tensor(documents).T / temperature, target)


@pytest.mark.parametrize("chunk", [7, DOCUMENTS, 1000])
def test_it_is_the_cross_entropy_with_the_softmax_over_all_documents(
    documents, queries, pools, chunk, monkeypatch
):
    monkeypatch.setattr(corpus_softmax, "_CHUNK", chunk)
    loss = loss_of(documents, pools)(queries, torch.arange(BATCH))
    expected = by_definition(documents, queries, pools)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, queries)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_a_large_sample_comes_near_the_whole_corpus(documents, queries, pools):
    loss = loss_of(documents, pools, documents=10, sample=200_000)(queries, torch.arange(BATCH))
    assert float(loss) == pytest.approx(float(by_definition(documents, queries, pools)), abs=0.02)


def test_the_correction_keeps_the_estimate_of_a_small_sample_unbiased(documents, queries, pools):
    """Of the sum, not of its logarithm: with temperature 1 the two are close."""
    settings = {"documents": 10, "sample": 20, "student_temperature": 1.0}
    loss = loss_of(documents, pools, **settings)
    drawn = [float(loss(queries, torch.arange(BATCH) + 100 * n)) for n in range(200)]
    expected = float(by_definition(documents, queries, pools, temperature=1.0))
    assert np.mean(drawn) == pytest.approx(expected, abs=0.02)


def test_the_same_batch_has_the_same_sample(documents, queries, pools):
    loss = loss_of(documents, pools, documents=10, sample=5)
    assert loss(queries, torch.arange(BATCH)) == loss(queries, torch.arange(BATCH))


def test_queries_of_another_width_are_refused(documents, pools):
    with pytest.raises(ValueError, match="queries"):
        loss_of(documents, pools)(torch.zeros(BATCH, WIDTH + 1), torch.arange(BATCH))
