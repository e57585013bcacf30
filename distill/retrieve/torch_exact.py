"""Exact search on a GPU: matrix products by torch, block by block, with a running top-k."""

import numpy as np
import torch

from distill.embed.encoder import Vectors
from distill.retrieve.exact import RowNumbers, find_exact_top_k, iterate_query_groups
from distill.runtime.devices import compute_in_float32

_ROWS_AT_ONCE = 65_536
"""Rows in one product: with 1,024 queries their scores take 256 MiB."""
_MEMORY_SHARE = 0.5
"""Share of a GPU's free memory that the vectors may take, to stay there from search to search."""


class TorchExactIndex:
    """Exact search on one device of torch, with the rows, the order and the scores of `ExactIndex`:
    the device proposes candidates in float32, and `find_exact_top_k` scores them again.

    The vectors stay on the device where they fit into half of its free memory. Elsewhere they are
    copied there for every search, a block at a time, once for all queries.

    Args:
        rows: passages in a block at most.
    """

    def __init__(self, vectors: Vectors, device: str, rows: int | None = None) -> None:
        self.vectors = vectors
        self._device = torch.device(device)
        self._rows = min(rows or _ROWS_AT_ONCE, _ROWS_AT_ONCE)
        self._resident: list[torch.Tensor] = []

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, RowNumbers]:
        """Find the k best rows of each query (see `SearchIndex`)."""
        if not self._resident and self._is_small_enough():
            self._resident = [self._copy(start) for start in self._starts]
        return find_exact_top_k(self._propose, self.vectors, queries, k)

    @property
    def _starts(self) -> range:
        return range(0, len(self.vectors), self._rows)

    def _is_small_enough(self) -> bool:
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return bool(self.vectors.nbytes <= _MEMORY_SHARE * free)

    def _copy(self, start: int) -> torch.Tensor:
        """Copy a block onto the device, in the number type in which it is stored."""
        block = np.array(self.vectors[start : start + self._rows])
        return torch.from_numpy(block).to(self._device)

    @torch.inference_mode()
    @compute_in_float32()
    def _propose(self, queries: Vectors, count: int) -> tuple[Vectors, RowNumbers]:
        query_tensor = torch.from_numpy(np.ascontiguousarray(queries, np.float32)).to(self._device)
        groups = [query_tensor[group] for group in iterate_query_groups(len(query_tensor))]
        best = [
            (of.new_empty(len(of), 0), of.new_empty(len(of), 0, dtype=torch.int64)) for of in groups
        ]
        for number, start in enumerate(self._starts):
            block = self._resident[number] if self._resident else self._copy(start)
            columns = block.float().T
            for place, group in enumerate(groups):
                block_scores, at = _select_top(group @ columns, count)
                scores, rows = best[place]
                scores, chosen = _select_top(torch.cat([scores, block_scores], dim=1), count)
                rows = torch.cat([rows, at + start], dim=1).gather(1, chosen)
                best[place] = scores, rows
        scores, rows = (torch.cat(of) for of in zip(*best, strict=True))
        return scores.cpu().numpy(), rows.cpu().numpy()


def _select_top(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the `count` best scores of each row and their places, in any order."""
    best = scores.topk(min(count, scores.shape[1]), dim=1, sorted=False)
    return best.values, best.indices
