"""Soft labels: what a teacher, or the LLM, says of an example's positive and of each negative."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distill.errors import UserError
from distill.recipe import Train
from distill.recipe.sections.objective import RANKER_OF
from distill.store.shards import shards
from distill.store.stage import Stage
from distill.store.tables import EXAMPLES, LABELS, TEACHER_SCORES, Row, read_rows, read_shard
from distill.train.objectives.inputs import standardize

OWN = "own"
"""The scores that stand in the examples themselves, as STS pairs have them."""
HYBRID = "hybrid"
JUDGED = ("ql", "ql_sum", "rc", "rrf", "bm25", HYBRID)
"""Those that are read from the labels."""
_PAIRS = ("sts", "sentence similarity")
"""Types of task whose rows may be pairs with a score."""


class ScoredExample(NamedTuple):
    """An example, and the soft scores of its positive, its negatives and its `others` in their
    order; NaN where one is not known. `others` are the ids of further candidates, which soft labels
    alone are learnt from; `source` is where the example comes from, as a mixture names it."""

    row: Row
    scores: list[float]
    others: tuple[str, ...] = ()
    source: str = ""


def score_source(train: Train) -> str | None:
    """Whose scores an objective is trained on; None where it is on none.

    Raises:
        UserError: if two of its terms ask for different ones; CoSENT asks for the examples' own.
    """
    named = {
        term: getattr(train, term).scores
        for term in ("kl", "margin_mse", "corpus_softmax")
        if getattr(train.objective, term)
    }
    if len(set(named.values())) > 1:
        raise UserError(
            "train.kl.scores, train.margin_mse.scores",
            f"name different scores ({', '.join(named.values())})",
            "name the same in both, or train on them in two of train.stages",
        )
    if train.objective.cosent and named:
        raise UserError(
            "train.objective.cosent",
            f"learns the examples' own scores, and {', '.join(named)} those of somebody else",
            "train on them in two of train.stages",
        )
    return OWN if train.objective.cosent else next(iter(named.values()), None)


def score_sources(train: Train) -> set[str]:
    """Whose scores the stages of a training ask for, together."""
    named = {score_source(stage) for stage in train.in_stages().values()}
    return {source for source in named if source is not None}


def score_from_example(row: Row, train: Train) -> ScoredExample:
    """An example of which there is no table but its own."""
    return ScoredExample(row, _own(row) if score_source(train) == OWN else _unknown(row))


def read_scored_examples(
    stage: Stage, train: Train, labels: Stage | None, teacher_scores: Stage | None
) -> list[ScoredExample]:
    """All examples of a stage with their soft scores.

    Raises:
        UserError: if they are to come from labels that hold none of them.
    """
    source = score_source(train)
    if source == "teacher" and teacher_scores is not None:
        by_id = _of_teacher(teacher_scores)
        return [_matched(row, by_id.get(row["query_id"])) for row in stage.rows(EXAMPLES)]
    if source in JUDGED and labels is not None:
        found = list(_labelled(stage, labels, source, train))
        if stage.name == EXAMPLES.name and found:
            _refuse_if_all_unknown(found, labels, source)
        return found
    return [score_from_example(row, train) for row in stage.rows(EXAMPLES)]


def check_scores(train: Train, labels: Stage | None, teacher_scores: Stage | None) -> None:
    """Refuse an objective whose scores are not there to be read, or that were not judged.

    Raises:
        UserError: naming the scores.
    """
    source = score_source(train)
    missing = {"teacher": teacher_scores is None} | dict.fromkeys(JUDGED, labels is None)
    if source is not None and missing.get(source):
        raise UserError(
            f"train: scores {source!r}",
            "there is no table to read them from",
            "relabel the examples, or score them with the teacher, before training",
        )


def _labelled(stage: Stage, labels: Stage, source: str, train: Train) -> Iterator[ScoredExample]:
    """Each with the scores of its own documents, or of everything that was judged for its query.
    Labels have the shards of the examples that were chosen from them; examples of another stage
    have none."""
    everything = train.objective.trains_queries_alone or (
        bool(train.objective.kl) and train.kl.candidates == "all"
    )
    for path in shards(stage.folder):
        rows = read_shard(EXAMPLES, path)
        of_shard = labels.folder / path.name
        if stage.name != EXAMPLES.name or not of_shard.exists():
            yield from (ScoredExample(row, _unknown(row)) for row in rows)
            continue
        judged: dict[str, list[Row]] = defaultdict(list)
        for label in read_shard(LABELS, of_shard):
            judged[label["query_id"]].append(label)
        scores = {query: _scores_of(of_it, source, train) for query, of_it in judged.items()}
        for row in rows:
            of_query = scores.get(get_query_id(row["query_id"]), {})
            own = [row["positive_id"], *row["negative_ids"]]
            others = tuple(id_ for id_ in of_query if everything and id_ not in own)
            found = [of_query.get(passage, math.nan) for passage in (*own, *others)]
            yield ScoredExample(row, found, others)


def _scores_of(labels: Sequence[Row], source: str, train: Train) -> dict[str, float]:
    """By passage, of one query's labels; NaN where a candidate has no score."""
    ids = [label["passage_id"] for label in labels]
    if source == HYBRID:
        return dict(zip(ids, fuse_hybrid_scores(labels, train.bm25_share), strict=True))
    column = "ql" if source == "ql_sum" else source
    return dict(zip(ids, (_number(label[column]) for label in labels), strict=True))


def fuse_hybrid_scores(labels: Sequence[Row], bm25_share: float) -> list[float]:
    """The retriever's similarity and BM25, each with mean 0 and deviation 1 over all of a query's
    candidates that have both, and added by weight; NaN for a candidate that has not both. On a
    list whose candidates all have the same score, that score says nothing and counts 0."""
    columns = [[_number(label[name]) for label in labels] for name in ("similarity", "bm25")]
    scores = torch.tensor(columns, dtype=torch.float64)
    scores[:, scores.isnan().any(0)] = math.nan
    similarity, bm25 = standardize(scores)
    found: list[float] = ((1 - bm25_share) * similarity + bm25_share * bm25).tolist()
    return found


def _refuse_if_all_unknown(found: Sequence[ScoredExample], labels: Stage, source: str) -> None:
    if all(math.isnan(score) for scored in found for score in scored.scores):
        ranker = RANKER_OF.get(source)
        raise UserError(
            str(labels.folder),
            f"holds no scores {source!r} of any example",
            "relabel anew" + (f", with {ranker} among relabel.rankers" if ranker else ""),
        )


def get_query_id(example_id: str) -> str:
    """Get an example's query: a further positive of it, `ID+2` and so on, is an example too."""
    own, _, number = example_id.rpartition("+")
    return own if own and number.isdigit() else example_id


def _of_teacher(stage: Stage) -> dict[str, list[float]]:
    """By example, of the first teacher in the table."""
    found: dict[str, list[float]] = {}
    for row in read_rows(TEACHER_SCORES, stage.folder):
        found.setdefault(row["query_id"], [row["positive_score"], *row["negative_scores"]])
    return found


def _matched(row: Row, scores: list[float] | None) -> ScoredExample:
    known = scores is not None and len(scores) == 1 + len(row["negatives"])
    return ScoredExample(row, scores if scores is not None and known else _unknown(row))


def _own(row: Row) -> list[float]:
    """A row that was written from a passage has the retriever's scores, whatever its task: no one's
    judgement of a pair."""
    if row["task_type"] not in _PAIRS or row["seed_id"]:
        return _unknown(row)
    scores = [row["positive_score"], *row["negative_scores"]]
    return [*map(_number, scores)] if len(scores) == 1 + len(row["negatives"]) else _unknown(row)


def _unknown(row: Row) -> list[float]:
    return [math.nan] * (1 + len(row["negatives"]))


def _number(score: float | None) -> float:
    return math.nan if score is None else score


class SoftScores:
    """Soft scores by an example's number, on the CPU."""

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self.starts = np.cumsum([0, *map(len, rows)])
        self.flat = np.array([score for row in rows for score in row], np.float32)

    def take(self, numbers: Tensor) -> Tensor:
        """(n,) example numbers to (n, documents of each) float32; all must have as many."""
        wanted = numbers.cpu().numpy()
        width = int(self.starts[wanted[0] + 1] - self.starts[wanted[0]])
        places = self.starts[wanted][:, None] + np.arange(width)
        return torch.from_numpy(self.flat[places])
