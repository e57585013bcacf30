"""The softmax over the whole corpus: what its definition says, in chunks and by a sample."""

import itertools

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
def test_corpus_softmax_is_the_cross_entropy_over_all_documents(
    documents, queries, pools, chunk, monkeypatch
):
    monkeypatch.setattr(corpus_softmax, "_CHUNK", chunk)
    loss = loss_of(documents, pools)(queries, torch.arange(BATCH))
    expected = by_definition(documents, queries, pools)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, queries)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


class Watched(np.ndarray):
    """Vectors of which it is counted how many rows were read."""

    read = 0

    def __getitem__(self, rows):
        found = super().__getitem__(rows)
        Watched.read += len(found)
        return np.asarray(found)


@pytest.mark.parametrize("settings", [{}, {"documents": 10, "sample": 12}])
def test_corpus_that_fits_beside_the_student_is_read_once(
    documents, queries, pools, settings, monkeypatch
):
    """On a GPU: from step to step, there and back, what is learnt stays what it was."""
    monkeypatch.setattr(corpus_softmax, "_CHUNK", 7)
    before = loss_of(documents, pools, **settings)(queries, torch.arange(BATCH))
    room = documents.nbytes / corpus_softmax._MEMORY_SHARE
    monkeypatch.setattr(corpus_softmax, "_measure_room", lambda device: room)
    monkeypatch.setattr(Watched, "read", 0)
    held = loss_of(documents.view(Watched), pools, **settings)
    for _ in range(3):
        after = held(queries, torch.arange(BATCH))
        gradients = [
            torch.autograd.grad(loss, queries, retain_graph=True)[0] for loss in (before, after)
        ]
        assert torch.equal(after, before)
        assert torch.equal(*gradients)
    assert Watched.read == DOCUMENTS


@pytest.mark.parametrize("sample", [DOCUMENTS, 200_000])
def test_sample_of_everything_is_the_whole_corpus(documents, queries, pools, sample):
    sampled = loss_of(documents, pools, documents=10, sample=sample)(queries, torch.arange(BATCH))
    whole = loss_of(documents, pools)(queries, torch.arange(BATCH))
    torch.testing.assert_close(sampled, whole)
    gradients = [torch.autograd.grad(loss, queries)[0] for loss in (sampled, whole)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_pool_of_everything_needs_no_sample(documents, queries):
    pools = BatchPools(torch.arange(DOCUMENTS).repeat(BATCH, 1), torch.zeros(BATCH, DOCUMENTS))
    sampled = loss_of(documents, pools, documents=10, sample=5)(queries, torch.arange(BATCH))
    torch.testing.assert_close(sampled, loss_of(documents, pools)(queries, torch.arange(BATCH)))


def test_estimated_sum_is_unbiased(documents, queries, monkeypatch):
    """Over all samples of three of the seven documents outside the pool, its mean is the sum."""
    few, one = documents[:9], queries[:1]
    pools = BatchPools(torch.tensor([[7, 2]]), torch.tensor([[0.6, 0.4]]))
    outside = [row for row in range(9) if row not in (7, 2)]
    estimates = []
    for sample in itertools.combinations(outside, 3):
        drawn = torch.tensor(sample)
        monkeypatch.setattr(corpus_softmax, "draw_others", lambda *_, drawn=drawn: drawn)
        loss = loss_of(few, pools, documents=5, sample=3)(one, torch.tensor([0]))
        estimates.append(float(loss.detach().exp()))
    assert np.std(estimates) > 1e-3
    whole = loss_of(few, pools)(one, torch.tensor([0]))
    assert np.mean(estimates) == pytest.approx(float(whole.detach().exp()), rel=1e-5)


def test_corpus_softmax_draws_others_outside_the_pool_each_as_often_as_any():
    pool = torch.tensor([0, 3, 4, 9])
    counts = np.zeros(10)
    for seed in range(2000):
        drawn = corpus_softmax.draw_others(10, pool, 2, seed).tolist()
        assert len(set(drawn)) == 2
        counts[drawn] += 1
    assert counts[pool].sum() == 0
    outside = np.delete(counts, pool)
    assert outside.sum() == 4000
    assert np.abs(outside - 4000 / 6).max() < 5 * np.sqrt(4000 / 6)


def test_same_batch_has_the_same_sample(documents, queries, pools):
    loss = loss_of(documents, pools, documents=10, sample=5)
    assert loss(queries, torch.arange(BATCH)) == loss(queries, torch.arange(BATCH))


def test_queries_of_another_width_are_refused(documents, pools):
    with pytest.raises(ValueError, match="queries"):
        loss_of(documents, pools)(torch.zeros(BATCH, WIDTH + 1), torch.arange(BATCH))
