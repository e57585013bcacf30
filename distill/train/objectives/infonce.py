"""InfoNCE, the contrastive loss: a query's positive against all that is no answer to it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank, get_world_size
from torch import Tensor
from torch.nn import functional as F

from distill.recipe import InfoNCE
from distill.train.objectives.inputs import check_columns, check_shape

Logits = tuple[Tensor, Tensor]
"""Similarities, and which of them are left out; both (batch, candidates)."""


class GatheredBatch(NamedTuple):
    """A batch gathered from every process, in rank order: `columns`, one (all rows, dimensions)
    each, and `numbers` (all rows, columns); this process' rows begin at `first`."""

    columns: list[Tensor]
    numbers: Tensor
    first: int


def compute_infonce(
    vectors: Sequence[Tensor],
    numbers: Tensor,
    settings: InfoNCE,
    temperature: float | Tensor,
    in_batch: Tensor | None = None,
) -> Tensor:
    """Compute InfoNCE of Gecko's equation 3: each query against its positive, every other positive
    and (`same_tower`) every other query of the batch, and its own or (`shared`) all hard negatives.

    sentence-transformers' MultipleNegativesRankingLoss puts everybody's hard negatives into each
    query's denominator and does not know which texts are the same, hence this one.

    What is certainly no negative is masked: a text that is one of the query's own documents, the
    same query, and another positive of the same query. Beyond the `margin` so is every negative, a
    hard one of the query's own too (Qwen3 Embedding, 2506.05176, equation 1).

    Args:
        vectors: one (batch, dimensions) of unit vectors a column: query, positive, and any number
            of negatives.
        numbers: (batch, columns), which text stands where.
        in_batch: (batch,), whether others of the batch may be this row's negatives; None: all may.
            In a batch of classification or clustering they are often right (NV-Embed, stage two).

    Returns:
        The mean over the batch, a scalar.

    Raises:
        ValueError: if shapes do not fit each other.
    """
    rows, _ = check_columns(vectors, least=2)
    check_shape("numbers", numbers, rows, len(vectors))
    if in_batch is not None:
        check_shape("in_batch", in_batch, rows)
    columns = [column.float() for column in vectors]
    own, own_masked = _list_own_logits(columns, numbers, settings.margin)
    others = gather_batch(columns, numbers, settings.cross_device)
    blocks = _list_other_logits(columns[0], numbers, others, settings)
    closed = _mark_closed(rows, others, in_batch)
    ceiling = _compute_ceiling(own, settings.margin)
    similarities = [own, *(block for block, _ in blocks)]
    masks = [own_masked, *(masked | closed | (block > ceiling) for block, masked in blocks)]
    logits = torch.cat(similarities, dim=1) / temperature
    logits[:, 1 : len(columns) - 1] += settings.hardness * own[:, 1:].detach()
    target = torch.zeros(rows, dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits.masked_fill(torch.cat(masks, dim=1), -torch.inf), target)


def _list_own_logits(columns: Sequence[Tensor], numbers: Tensor, margin: float | None) -> Logits:
    """Return the query with its positive, the first column, and with each hard negative."""
    query, *documents = columns
    similarities = torch.stack([(query * document).sum(-1) for document in documents], dim=1)
    masked = (numbers[:, 1:] == numbers[:, 1:2]) | (
        similarities > _compute_ceiling(similarities, margin)
    )
    masked[:, 0] = False
    return similarities, masked


def _compute_ceiling(own: Tensor, margin: float | None) -> Tensor:
    """Compute the similarity, (batch, 1), above which a text is taken for a false negative of a
    query."""
    return own[:, :1].detach() + (torch.inf if margin is None else margin)


def _list_other_logits(
    queries: Tensor, numbers: Tensor, others: GatheredBatch, settings: InfoNCE
) -> list[Logits]:
    """Return the query with every row's positive, hard negatives and query, as far as the settings
    ask for them: each (batch, all rows)."""
    same_query = numbers[:, :1] == others.numbers[:, 0]
    last = len(others.columns) if settings.hard_negatives == "shared" else 2
    blocks = []
    for column in range(1, last):
        theirs = others.numbers[:, column]
        masked = (theirs[None, :, None] == numbers[:, None, 1:]).any(-1)
        if column == 1:
            masked |= same_query
        blocks.append((queries @ others.columns[column].T, masked))
    if settings.same_tower:
        blocks.append((queries @ others.columns[0].T, same_query))
    return blocks


def _mark_closed(rows: int, others: GatheredBatch, in_batch: Tensor | None) -> Tensor:
    """Mark what is no negative, (batch, all rows): each row to itself, and to all where the others
    are no negatives."""
    device = others.numbers.device
    own_row = torch.arange(others.first, others.first + rows, device=device)
    closed = own_row[:, None] == torch.arange(len(others.numbers), device=device)
    return closed if in_batch is None else closed | ~in_batch[:, None]


def gather_batch(columns: Sequence[Tensor], numbers: Tensor, cross_device: bool) -> GatheredBatch:
    """Gather the batch of all processes; or of this one alone, without `cross_device` or company.

    The gradient goes back to the process that a text came from, summed over the processes; averaged
    over them, as distributed training does, it is that of the mean loss over all rows. Every
    process must bring as many rows and columns.
    """
    if not cross_device or get_world_size() == 1:
        return GatheredBatch(list(columns), numbers, 0)
    gathered = [all_gather_with_grad(column.contiguous()) for column in columns]
    return GatheredBatch(gathered, all_gather(numbers.contiguous()), get_rank() * len(numbers))
