"""Cross-entropy of a query's soft scores with the softmax over all documents of the corpus."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from distill.embed.encoder import Vectors
from distill.recipe import CorpusSoftmax
from distill.train.objectives.inputs import check_shape

_CHUNK = 65_536
"""Documents whose logits are in memory at a time."""
_MEMORY_SHARE = 0.5
"""Share of a GPU's free memory that the documents may take, to stay there from step to step: a
query encoder is small. Elsewhere a step copies all of them twice, there and back."""


class BatchPools(NamedTuple):
    """The candidates of some queries: `rows` of the corpus, (queries, candidates) integers, and the
    `target` probability of each, (queries, candidates) float32. A query with fewer candidates than
    another has rows of probability 0 behind its own."""

    rows: Tensor
    target: Tensor


class CorpusSoftmaxLoss:
    """The loss of a batch of queries against documents whose vectors do not change.

    The documents stay on a GPU where they fit, and on any device if they are one chunk.

    Args:
        documents: (documents, dimensions) unit vectors, maybe memory-mapped.
        pools: example numbers (n,) to the queries' candidates and target distributions.
    """

    def __init__(
        self, documents: Vectors, pools: Callable[[Tensor], BatchPools], settings: CorpusSoftmax
    ) -> None:
        self._documents = documents
        self._pools = pools
        self._settings = settings
        self._whole: Tensor | None = None
        self._looked_at: torch.device | None = None

    def __call__(self, queries: Tensor, numbers: Tensor) -> Tensor:
        """Compute the loss over the batch's queries.

        Args:
            queries: (batch, dimensions) unit vectors.
            numbers: (batch,) example numbers.

        Returns:
            The mean over the batch, in nats, a scalar.

        Raises:
            ValueError: if the queries have another width than the documents.
        """
        check_shape("queries", queries, len(numbers), self._documents.shape[1])
        pools = self._pools(numbers)
        target = pools.target.to(queries.device)
        total = len(self._documents)
        self._settle(queries.device)
        if self._whole is not None and total <= min(_CHUNK, self._settings.documents):
            documents = self._whole
            logits = queries @ documents.T / self._settings.student_temperature
            own, normalizer = logits.gather(1, pools.rows.to(queries.device)), logits.logsumexp(1)
        else:
            own = self._score_candidates(queries, pools.rows)
            # The same batch draws the same sample, also after a resumed training.
            normalizer = (
                self._sum_all(queries)
                if total <= self._settings.documents
                else self._sum_sample(queries, pools.rows.unique(), int(numbers.sum()))
            )
        return (normalizer - (target * own).sum(1)).mean()

    def _settle(self, device: torch.device) -> None:
        """Copy all vectors to the device, once, where they are to stay there: (documents,
        dimensions) float32."""
        if self._looked_at == device:
            return
        self._looked_at, self._whole = device, None
        total, width = self._documents.shape
        if total > _CHUNK and 4 * total * width > _MEMORY_SHARE * _measure_room(device):
            return
        chunks = [slice(start, start + _CHUNK) for start in range(0, total, _CHUNK)]
        if len(chunks) == 1:
            self._whole = self._read(chunks[0]).to(device)
            return
        self._whole = torch.empty((total, width), dtype=torch.float32, device=device)
        for rows in chunks:
            self._whole[rows] = self._read(rows).to(device)

    def _read(self, rows: slice) -> Tensor:
        """Read the vectors of some rows in a row, (n, dimensions) float32 on the CPU."""
        return torch.from_numpy(np.array(self._documents[rows], np.float32))

    def _score_candidates(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Score the candidates: (batch, candidates) logits."""
        vectors = self._take(rows.flatten()).view(*rows.shape, -1).to(queries.device)
        return torch.einsum("bd,bcd->bc", queries, vectors) / self._settings.student_temperature

    def _sum_all(self, queries: Tensor) -> Tensor:
        """Sum over all documents, a chunk at a time: (batch,) log of the sum."""
        starts = range(0, len(self._documents), _CHUNK)
        parts = [self._sum_rows(queries, slice(start, start + _CHUNK)) for start in starts]
        return torch.stack(parts, dim=1).logsumexp(1)

    def _sum_rows(self, queries: Tensor, rows: slice) -> Tensor:
        """Sum over a chunk, (batch,) log of the sum; its logits are computed again on the way
        back."""

        def compute_log_sum(batch: Tensor) -> Tensor:
            vectors = self._read(rows) if self._whole is None else self._whole[rows]
            logits = batch @ vectors.to(batch.device).T / self._settings.student_temperature
            return logits.logsumexp(1)

        summed: Tensor = checkpoint(compute_log_sum, queries, use_reentrant=False)
        return summed

    def _sum_sample(self, queries: Tensor, pool: Tensor, seed: int) -> Tensor:
        """Estimate the sum over all documents, (batch,) log of it: the batch's candidates, and a
        uniform sample of the others, each for as many as it stands for (logQ correction, Bengio and
        Senecal 2008). The estimate of the sum is unbiased, and is the sum itself where the sample
        is all of the others."""
        total = len(self._documents)
        others = draw_others(total, pool, self._settings.sample, seed)
        vectors = self._take(torch.cat([pool, others])).to(queries.device)
        logits = queries @ vectors.T / self._settings.student_temperature
        if len(others):
            logits[:, len(pool) :] += math.log((total - len(pool)) / len(others))
        return logits.logsumexp(1)

    def _take(self, rows: Tensor) -> Tensor:
        """Read documents' vectors: (n, dimensions) float32."""
        if self._whole is not None:
            return self._whole[rows.to(self._whole.device)]
        return torch.from_numpy(np.asarray(self._documents[rows.numpy()], np.float32))


def _measure_room(device: torch.device) -> int:
    """Measure the free memory of a GPU, in bytes; 0 of any other device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def draw_others(total: int, pool: Tensor, count: int, seed: int) -> Tensor:
    """Draw rows outside a pool, each as likely as any other and none twice; all of them where
    `count` is no smaller than their number.

    Args:
        total: rows are numbered from 0 to below this.
        pool: (n,) distinct rows, in order.

    Returns:
        (min(count, total - n),) integers.
    """
    left = total - len(pool)
    generator = np.random.default_rng(seed)
    places = generator.choice(left, min(count, left), replace=False, shuffle=False)
    before = pool.numpy() - np.arange(len(pool))  # rows outside the pool that each one follows
    return torch.from_numpy(places + np.searchsorted(before, places, side="right"))
