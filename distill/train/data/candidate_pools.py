"""The candidates of each query as rows of the corpus, with the distribution that is learnt over
them; and the training data of queries alone."""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from distill.errors import UserError
from distill.recipe import CorpusSoftmax, Student
from distill.student.writing import StudentTexts
from distill.text.format import PromptedText
from distill.train.data.mixture import Mixture
from distill.train.data.soft_labels import ScoredExample, get_query_id
from distill.train.data.softness import SoftnessCheck, check_softness
from distill.train.objectives.corpus_softmax import BatchPools
from distill.train.objectives.inputs import make_target

_log = logging.getLogger(__name__)
_QueryKey = tuple[str, str, str]
"""A query's source, id and text."""


class CandidatePools:
    """The candidates of all examples, by the examples' numbers: 12 bytes each, in memory.

    Args:
        rows: of the corpus, for each example.
        scores: likewise, all of them known.
        settings: how the scores become distributions.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        scores: Sequence[Sequence[float]],
        settings: CorpusSoftmax,
    ) -> None:
        self._starts = np.cumsum([0, *map(len, rows)])
        self._rows = np.concatenate([np.asarray(of_query, np.int64) for of_query in rows])
        targets = [
            make_target(torch.tensor(of_query), settings.scores, settings.temperature)
            for of_query in scores
        ]
        self._target = torch.cat(targets).numpy()

    def take(self, numbers: Tensor) -> BatchPools:
        """(n,) example numbers to their pools, on the CPU."""
        wanted = numbers.cpu().numpy()
        starts, ends = self._starts[wanted], self._starts[wanted + 1]
        places = starts[:, None] + np.arange(int((ends - starts).max()))
        inside = places < ends[:, None]
        places = np.where(inside, places, starts[:, None])
        target = np.where(inside, self._target[places], 0).astype(np.float32)
        return BatchPools(torch.from_numpy(self._rows[places]), torch.from_numpy(target))


class QueryExamples(NamedTuple):
    """A mixture of queries alone (the dataset `queries`, columns query and label), their
    candidates, and how soft the distributions over these are."""

    mixture: Mixture
    pools: CandidatePools
    soft: SoftnessCheck


def make_query_examples(
    student: Student,
    settings: CorpusSoftmax,
    rows: Sequence[ScoredExample],
    passage_ids: Sequence[str],
) -> QueryExamples:
    """The training data of a query encoder: each query once, with those of its candidates that are
    passages of the corpus and have a score. A query that has none is left out; examples of further
    positives add their candidates to their query's. A mixture's weights repeat queries as ever.

    Raises:
        UserError: if none is left.
    """
    row_of = {id_: row for row, id_ in enumerate(passage_ids)}
    known: dict[_QueryKey, dict[int, float]] = defaultdict(dict)
    for scored in rows:
        known[_name_query(scored)].update(_known_candidates(scored, row_of))
    once = _leave_further_positives_out(rows)
    members = [scored for scored in once if known[_name_query(scored)]]
    pools = [known[_name_query(scored)] for scored in members]
    if not members:
        raise UserError(
            "train.objective.corpus_softmax",
            f"no query of {len(once)} has a candidate in the corpus with a score "
            f"{settings.scores!r}",
            "train on the stage `examples`, which was relabelled, or name other "
            "train.corpus_softmax.scores",
        )
    if missing := len(once) - len(members):
        _log.warning(
            "training: %d of %d queries have no candidate in the corpus with a score %r, and are "
            "left out",
            missing,
            len(once),
            settings.scores,
        )
    writer = StudentTexts(student)
    texts: dict[PromptedText, int] = {}
    queries = [texts.setdefault(writer.query(scored.row), len(texts)) for scored in members]
    labels = [[number, query] for number, query in enumerate(queries)]
    dataset = Dataset.from_dict({"query": queries, "label": labels})
    mixture = Mixture({"queries": dataset}, members, {}, {}, {}, list(texts))
    numbers, scores = [list(pool) for pool in pools], [list(pool.values()) for pool in pools]
    return QueryExamples(
        mixture, CandidatePools(numbers, scores, settings), _check_softness(scores, settings)
    )


def _check_softness(scores: Sequence[Sequence[float]], settings: CorpusSoftmax) -> SoftnessCheck:
    def make_targets(lists: Tensor, temperature: float) -> Tensor:
        return make_target(lists, settings.scores, temperature)

    return check_softness(scores, make_targets, settings.temperature, "train.corpus_softmax")


def _name_query(scored: ScoredExample) -> _QueryKey:
    return scored.source, get_query_id(scored.row["query_id"]), scored.row["query"]


def _leave_further_positives_out(rows: Sequence[ScoredExample]) -> list[ScoredExample]:
    """Leave out examples of a further positive, `ID+2` and so on, whose query has its own example
    among the rows."""
    own = {
        _name_query(scored)
        for scored in rows
        if get_query_id(scored.row["query_id"]) == scored.row["query_id"]
    }
    return [
        scored
        for scored in rows
        if get_query_id(scored.row["query_id"]) == scored.row["query_id"]
        or _name_query(scored) not in own
    ]


def _known_candidates(scored: ScoredExample, row_of: dict[str, int]) -> dict[int, float]:
    """An example's candidates by their row of the corpus, with their scores."""
    ids = [scored.row["positive_id"], *scored.row["negative_ids"], *scored.others]
    return {
        row_of[id_]: score
        for id_, score in zip(ids, scored.scores, strict=True)
        if id_ in row_of and not math.isnan(score)
    }
