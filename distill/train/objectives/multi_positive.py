"""Contrast with as many positives as a judge has found: one matrix says of every query and every
document of the batch whether the document answers it, does not, or whether nobody knows."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.recipe import MultiPositive
from distill.train.objectives.inputs import average_or_zero, check_columns, check_shape


def compute_multi_positive(
    vectors: Sequence[Tensor],
    numbers: Tensor,
    scores: Tensor,
    settings: MultiPositive,
    in_batch: Tensor | None = None,
) -> Tensor:
    """Compute the loss of each query with s, its similarity of a document over the temperature:

    - `pairwise`: log(1 + the sum of exp(s_n - s_p) over all positives p and negatives n) (LSEPair,
      Wang et al. 2026, 2602.12727): its gradient is that of the pairs in the wrong order;
    - `contrast`: the mean over the positives of -log(exp(s_p) / (exp(s_p) + the sum of exp(s_n))):
      InfoNCE of each positive, in which the others are no negatives (SupCon, 2004.11362, but for
      those).

    A document of which nobody knows has no part in either.

    Args:
        vectors: one (batch, dimensions) of unit vectors a column: query, positive, candidates.
        numbers: (batch, columns), which text stands where.
        scores: (batch, columns - 1), the judgements; NaN where there is none.
        in_batch: (batch,), whether others of the batch may be this row's negatives; None: all may.

    Returns:
        The mean over the queries that have a negative, a scalar; 0 if none has.

    Raises:
        ValueError: if shapes do not fit each other.
    """
    rows, width = check_columns(vectors, least=2)
    check_shape("numbers", numbers, rows, len(vectors))
    check_shape("scores", scores, rows, len(vectors) - 1)
    relations = relate(numbers, scores, settings, in_batch)
    learnt = (relations < 0).any(1)
    queries, *columns = (column.float() for column in vectors)
    documents = torch.stack(columns, dim=1).view(-1, width)
    logits = queries[learnt] @ documents.T / settings.temperature
    relations = relations[learnt]
    positive = relations > 0
    negatives = logits.masked_fill(relations >= 0, -torch.inf).logsumexp(1)
    if settings.loss == "pairwise":
        positives = (-logits).masked_fill(~positive, -torch.inf).logsumexp(1)
        return average_or_zero(F.softplus(negatives + positives))
    each = F.softplus(negatives[:, None] - logits).masked_fill(~positive, 0)
    return average_or_zero(each.sum(1) / positive.sum(1))


def relate(
    numbers: Tensor, scores: Tensor, settings: MultiPositive, in_batch: Tensor | None = None
) -> Tensor:
    """Relate every query to every document of the batch: 1 for an answer, -1 for none, 0 where
    nobody knows.

    A query's own positive is 1. Its other candidates go by their scores, and a text that stands
    among them twice counts once. Another query's documents are -1, but for those that are among the
    query's own candidates, and those of the same query in another row, which are 0.

    Returns:
        (batch, batch x documents) integers, the documents of a row side by side.
    """
    rows, documents = scores.shape
    own = relate_scores(scores, settings)
    own[:, 0] = 1
    own_numbers = numbers[:, 1:]
    repeated = (own_numbers[:, :, None] == own_numbers[:, None, :]).tril(-1).any(2)
    own[repeated] = 0
    known = (own_numbers.flatten()[None, :, None] == own_numbers[:, None, :]).any(2)
    same_query = (numbers[:, :1] == numbers[:, 0]).repeat_interleave(documents, dim=1)
    closed = known | same_query
    if in_batch is not None:
        check_shape("in_batch", in_batch, rows)
        closed = closed | ~in_batch[:, None]
    relations = -(~closed).to(own.dtype)
    places = torch.arange(rows, device=numbers.device)
    relations.view(rows, rows, documents)[places, places] = own
    return relations


def relate_scores(scores: Tensor, settings: MultiPositive) -> Tensor:
    """Relate judged candidates, in the scores' shape: 1 from `relevant` on, -1 below `irrelevant`,
    0 between them and where there is no score (NaN)."""
    answers = (scores >= settings.relevant).to(torch.int8)
    return answers - (scores < settings.least_unknown).to(torch.int8)


class RelationCounts(NamedTuple):
    """The mean number of candidates of each kind over `lists`, the lists that have a judgement."""

    lists: int
    positives: float
    negatives: float
    unknown: float


def count_relations(
    lists: Sequence[Sequence[float]], settings: MultiPositive
) -> RelationCounts | None:
    """Count what the candidates of each query are to it, its own positive first; None where no list
    has a judgement."""
    totals, judged = [0, 0, 0], 0
    for scores in lists:
        row = torch.tensor([scores])
        if row.isnan().all():
            continue
        relations = relate_scores(row, settings)
        relations[:, 0] = 1
        judged += 1
        for place, kind in enumerate((1, -1, 0)):
            totals[place] += int((relations == kind).sum())
    if not judged:
        return None
    return RelationCounts(judged, *(round(total / judged, 2) for total in totals))
