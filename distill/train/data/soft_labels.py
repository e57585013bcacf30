"""Soft labels: what a teacher, or the LLM, says of an example's positive and of each negative."""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from distill.errors import UserError
from distill.recipe import MultiPositive, SoftScoreChoice, Train
from distill.recipe.needs import OWN, TEACHER, score_source
from distill.recipe.sections.objective import list_needed_rankers, list_score_names
from distill.store.shards import list_shards
from distill.store.stage import Stage
from distill.store.tables import EXAMPLES, LABELS, TEACHER_SCORES, Row, read_rows, read_shard
from distill.train.data.label_scores import score_candidates
from distill.train.data.stratify import select_stratified
from distill.train.rows.examples import ScoredExample

_PAIRS = ("sts", "sentence similarity")
"""Types of task whose rows may be pairs with a score."""


def list_score_sources(train: Train) -> set[str]:
    """List whose scores the stages of a training ask for, together, the parts of a mixture each by
    itself."""
    return {name for stage in train.list_stages().values() for name in _list_names(stage)}


def needs_labels(train: Train) -> bool:
    """Return whether a stage of a training learns scores of the labels."""
    return bool(list_score_sources(train) - {OWN, TEACHER})


def _list_names(train: Train) -> list[str]:
    source = score_source(train)
    if source is None or source == OWN:
        return [] if source is None else [OWN]
    return [*list_score_names(source)]


def score_from_example(row: Row, train: Train) -> ScoredExample:
    """Score an example of which there is no table but its own."""
    return ScoredExample(
        row, _get_own_scores(row) if score_source(train) == OWN else _make_unknown(row)
    )


def read_scored_examples(
    stage: Stage, train: Train, labels: Stage | None, teacher_scores: Stage | None
) -> Iterator[ScoredExample]:
    """Yield all examples of a stage with their soft scores; one shard is in memory at a time.

    Raises:
        UserError: at the end, if they are to come from labels that hold none of them.
    """
    source = score_source(train)
    by_id = {} if teacher_scores is None else _read_teacher(teacher_scores)
    rows = read_rows(EXAMPLES, stage.folder)
    if source == TEACHER and teacher_scores is not None:
        yield from (_match_scores(row, by_id.get(row["query_id"])) for row in rows)
    elif source not in (None, OWN, TEACHER) and labels is not None:
        yield from _read_labelled(stage, labels, source, train, by_id)
    else:
        yield from (score_from_example(row, train) for row in rows)


def check_scores(train: Train, labels: Stage | None, teacher_scores: Stage | None) -> None:
    """Refuse an objective whose scores are not there to be read, or that were not judged.

    Raises:
        UserError: naming the scores.
    """
    for source in _list_names(train):
        table = teacher_scores if source == TEACHER else labels
        if source != OWN and table is None:
            raise UserError(
                f"train: scores {source!r}",
                "there is no table to read them from",
                "relabel the examples, or score them with the teacher, before training",
            )


def _read_labelled(
    stage: Stage,
    labels: Stage,
    choice: SoftScoreChoice,
    train: Train,
    teacher: Mapping[str, list[float]],
) -> Iterator[ScoredExample]:
    """Yield each example with the scores of its own documents, or of everything that was judged for
    its query. Labels have the shards of the examples that were chosen from them; examples of
    another stage have none."""
    of_labels = stage.name == EXAMPLES.name
    some_known, count = False, 0
    for path in list_shards(stage.folder):
        rows = read_shard(EXAMPLES, path)
        count += len(rows)
        of_shard = labels.folder / path.name
        if not of_labels or not of_shard.exists():
            yield from (ScoredExample(row, _make_unknown(row)) for row in rows)
            continue
        judged: dict[str, list[Row]] = defaultdict(list)
        for label in read_shard(LABELS, of_shard):
            judged[label["query_id"]].append(label)
        for row in rows:
            own = [row["positive_id"], *row["negative_ids"]]
            by_teacher = dict(zip(own, teacher.get(row["query_id"], []), strict=False))
            of_query = judged.get(get_query_id(row["query_id"]), [])
            scores = score_candidates(
                of_query, row["seed_id"], choice, train.bm25_share, by_teacher
            )
            others = _choose_others(row, own, scores, train)
            if train.objective.multi_positive and row["seed_id"] in others:
                _doubt_seed(scores, row["seed_id"], train.multi_positive)
            known_scores = [scores.get(passage, math.nan) for passage in (*own, *others)]
            if choice == "seed" and 1.0 not in known_scores:  # no list to learn it from
                known_scores = [math.nan] * len(known_scores)
            some_known = some_known or not all(map(math.isnan, known_scores))
            yield ScoredExample(row, known_scores, others)
    if of_labels and count and not some_known:
        _refuse_unknown(labels, choice)


def _choose_others(
    row: Row, own: Sequence[str], scores: Mapping[str, float], train: Train
) -> tuple[str, ...]:
    """Choose the candidates beside an example's own that soft labels are learnt from."""
    if train.objective.trains_queries_alone:
        return tuple(id_ for id_ in scores if id_ not in own)
    if train.objective.multi_positive:
        most = train.multi_positive.max_candidates
    elif train.objective.kl and train.kl.candidates == "all":
        scores = {id_: score for id_, score in scores.items() if not math.isnan(score)}
        most = train.kl.max_candidates
    else:
        return ()
    if most is None:
        return tuple(id_ for id_ in scores if id_ not in own)
    has_seed = row["seed_id"] in scores and row["seed_id"] not in own
    first = [row["seed_id"]] if has_seed else []
    room = most - len(own) - len(first)
    return (*first, *select_stratified(scores, [*own, *first], max(0, room)))


def _doubt_seed(scores: dict[str, float], seed_id: str, settings: MultiPositive) -> None:
    """Take a judgement against the seed passage away: the query was written for it, and it is a
    negative of no objective."""
    if scores[seed_id] < settings.relevant:
        scores[seed_id] = math.nan


def _refuse_unknown(labels: Stage, choice: SoftScoreChoice) -> None:
    rankers = " and ".join(list_needed_rankers(choice))
    remedy = f"relabel again, with {rankers} among relabel.rankers" if rankers else "relabel again"
    if choice == "seed":
        remedy = "name other scores, or train.kl.candidates: all, which the seed passage is among"
    raise UserError(str(labels.folder), f"holds no scores {choice!r} of any example", remedy)


def get_query_id(example_id: str) -> str:
    """Get an example's query: a further positive of it, `ID+2` and so on, is an example too."""
    own, _, number = example_id.rpartition("+")
    return own if own and number.isdigit() else example_id


def _read_teacher(stage: Stage) -> dict[str, list[float]]:
    """Return scores by example, of the first teacher in the table."""
    by_query: dict[str, list[float]] = {}
    for row in read_rows(TEACHER_SCORES, stage.folder):
        by_query.setdefault(row["query_id"], [row["positive_score"], *row["negative_scores"]])
    return by_query


def _match_scores(row: Row, scores: list[float] | None) -> ScoredExample:
    known = scores is not None and len(scores) == 1 + len(row["negatives"])
    return ScoredExample(row, scores if scores is not None and known else _make_unknown(row))


def _get_own_scores(row: Row) -> list[float]:
    """Return a row's own scores: a row that was written from a passage has the retriever's scores,
    whatever its task: no one's judgement of a pair."""
    if row["task_type"] not in _PAIRS or row["seed_id"]:
        return _make_unknown(row)
    scores = [row["positive_score"], *row["negative_scores"]]
    return (
        [*map(_read_number, scores)]
        if len(scores) == 1 + len(row["negatives"])
        else _make_unknown(row)
    )


def _make_unknown(row: Row) -> list[float]:
    return [math.nan] * (1 + len(row["negatives"]))


def _read_number(score: float | None) -> float:
    return math.nan if score is None else score


class SoftScores:
    """Soft scores by an example's number, on the CPU."""

    def __init__(self, rows: Iterable[Sequence[float]] = ()) -> None:
        self._flat, self._ends = array("f"), array("q", [0])
        for row in rows:
            self.append(row)

    def append(self, row: Sequence[float]) -> None:
        """Add the scores of one more example."""
        self._flat.extend(row)
        self._ends.append(len(self._flat))

    def list_scores(self) -> list[list[float]]:
        """List each example's scores."""
        return [self._flat[start:end].tolist() for start, end in pairwise(self._ends)]

    def take(self, numbers: Tensor) -> Tensor:
        """Take the scores, (n, documents of each) float32, of (n,) example numbers; all must have
        as many."""
        starts, wanted = np.asarray(self._ends), numbers.cpu().numpy()
        width = int(starts[wanted[0] + 1] - starts[wanted[0]])
        places = starts[wanted][:, None] + np.arange(width)
        return torch.from_numpy(np.asarray(self._flat)[places])
