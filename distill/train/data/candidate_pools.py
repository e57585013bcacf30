"""The candidates of each query as rows of the corpus, with the distribution that is learnt over
them; and the training data of queries alone."""

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from distill.errors import UserError
from distill.recipe import CorpusSoftmax, Student
from distill.student.writing import StudentTexts
from distill.text.digests import digest_text, number_digests
from distill.train.data.mixture import Mixture, list_columns
from distill.train.data.soft_labels import get_query_id
from distill.train.data.softness import SoftnessCheck, check_softness
from distill.train.objectives.corpus_softmax import BatchPools
from distill.train.objectives.inputs import make_target
from distill.train.rows.examples import ScoredExample, SelectedExamples
from distill.train.rows.texts import (
    QUERY,
    ExampleTexts,
    TextPlaces,
    TextsOnDemand,
    digest_prompted,
    write_for_student,
)

_log = logging.getLogger(__name__)
_AT_ONCE = 256
"""Examples whose candidates are looked up together."""


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
        """Take the pools of (n,) example numbers, on the CPU."""
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


class NumbersByPassageId(Protocol):
    """The row numbers of a corpus' passages."""

    def find_known_numbers(self, ids: Collection[str]) -> Mapping[str, int]:
        """Find the numbers of those of the ids that a passage has."""
        ...


def make_query_examples(
    student: Student,
    settings: CorpusSoftmax,
    rows: Sequence[ScoredExample],
    passages: NumbersByPassageId,
) -> QueryExamples:
    """Make the training data of a query encoder: each query once, with those of its candidates that
    are passages of the corpus and have a score. A query that has none is left out; examples of
    further positives add their candidates to their query's. A mixture's weights repeat queries as
    ever.

    Args:
        rows: gone through several times, in order. Of their texts hashes are held.

    Raises:
        UserError: if none is left.
    """
    keys, once = _choose_once(rows)
    known = _read_pools(rows, keys, passages)
    members = [number for number in once if len(known[keys[number]].rows)]
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
    numbers, scores = zip(*(known[keys[number]] for number in members), strict=True)
    return QueryExamples(
        _make_mixture(student, SelectedExamples(rows, members)),
        CandidatePools(numbers, scores, settings),
        _check_softness(scores, settings),
    )


def _make_mixture(student: Student, rows: Sequence[ScoredExample]) -> Mixture:
    writer, digests = StudentTexts(student), bytearray()
    for scored in rows:
        digests += digest_prompted(writer.write_query(scored.row))
    queries = number_digests(digests)
    labels = np.column_stack([np.arange(len(rows)), queries.numbers])
    dataset = Dataset.from_dict({"query": queries.numbers, "label": labels})
    places = TextPlaces(queries.firsts, np.full(len(queries.firsts), QUERY))
    texts = TextsOnDemand(ExampleTexts(rows), places, partial(write_for_student, writer))
    return Mixture({"queries": dataset}, list_columns(rows), {}, {}, {}, texts)


def _check_softness(scores: Sequence[Sequence[float]], settings: CorpusSoftmax) -> SoftnessCheck:
    def make_targets(lists: Tensor, temperature: float) -> Tensor:
        return make_target(lists, settings.scores, temperature)

    return check_softness(scores, make_targets, settings.temperature, "train.corpus_softmax")


def _choose_once(rows: Iterable[ScoredExample]) -> tuple[list[bytes], list[int]]:
    """Hash each example's source, query's id and query; and choose the examples that are trained
    on: not those of a further positive, `ID+2` and so on, whose query has its own example."""
    keys, further = [], set[int]()
    for number, scored in enumerate(rows):
        query_id = get_query_id(scored.row["query_id"])
        keys.append(digest_text("\0".join([scored.source, query_id, scored.row["query"]])))
        if query_id != scored.row["query_id"]:
            further.add(number)
    own = {key for number, key in enumerate(keys) if number not in further}
    once = [n for n, key in enumerate(keys) if n not in further or key not in own]
    return keys, once


class _Pool(NamedTuple):
    """Candidates by their rows of the corpus, with their scores."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def _read_pools(
    rows: Sequence[ScoredExample], keys: Sequence[bytes], passages: NumbersByPassageId
) -> dict[bytes, _Pool]:
    """Join the candidates of all examples of a query."""
    pools: dict[bytes, _Pool] = {}
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        ids = [[s.row["positive_id"], *s.row["negative_ids"], *s.others] for s in some]
        row_of = passages.find_known_numbers({id_ for of_example in ids for id_ in of_example})
        for key, of_example, scored in zip(keys[start:], ids, some, strict=False):
            before = pools.get(key)
            known = {} if before is None else dict(zip(*before, strict=True))
            for id_, score in zip(of_example, scored.scores, strict=True):
                if id_ in row_of and not math.isnan(score):
                    known[row_of[id_]] = score
            pools[key] = _Pool(
                np.fromiter(known, np.int64, len(known)),
                np.fromiter(known.values(), np.float32, len(known)),
            )
    return pools
