"""The sources of training examples, and how often each is seen: several sets of them, with weights,
or balanced by type of task."""

import logging
import random
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from distill.errors import UserError
from distill.files.read import parse_path
from distill.models.reference import identify_revision
from distill.recipe import Generate, Train
from distill.recipe.sections.train import TITLES
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import Stage, open_stage
from distill.store.tables import EXAMPLES, PASSAGES, Reader, Row, read_rows
from distill.train.data.soft_labels import read_scored_examples, score_from_example
from distill.train.rows.examples import (
    ExampleSource,
    JoinedSources,
    ReadableRows,
    ScoredExample,
    SelectedExamples,
)

_logger = logging.getLogger(__name__)

TITLES_TASK = "Given a title, find the text that it stands above."


class TrainingInputs(NamedTuple):
    """The stages of a run that a student may be trained on."""

    run: Run
    passages: Stage | None
    examples: Sequence[Stage]
    labels: Stage | None
    teacher_scores: Stage | None


def find_revisions(inputs: TrainingInputs, train: Train) -> dict[str, str]:
    """Find what the content of each named source is known by, but for those that are inputs anyway.

    Raises:
        UserError: for a name that is neither a stage of the run nor a folder of examples.
    """
    known = {stage.name for stage in inputs.examples} | {TITLES}
    named = [source.path for source in train.mixture if source.path not in known]
    return {path: _make_mark(inputs.run.folder, path) for path in named}


def read_mixture(
    inputs: TrainingInputs,
    train: Train,
    seed: int,
    allows: Callable[[Row], bool] = lambda row: True,
) -> SelectedExamples:
    """Read the examples of an epoch, with their soft scores, in the order of the sources. Their
    texts are not held in memory.

    Args:
        allows: whether an example may be trained on; the others are left out at the end, so that
            what is drawn by weights does not depend on them.

    Raises:
        UserError: if a source has no example of the task types that are named.
    """
    sources: list[ExampleSource] = []
    types: list[str] = []
    numbers: list[int] = []
    named = [(one.path, one.weight, one.task_types) for one in train.mixture]
    for path, weight, task_types in named or [(of.name, 1.0, []) for of in inputs.examples]:
        source = ExampleSource(path, *_open_rows(inputs, path, train), allows)
        own = range(len(types), len(types) + len(source))
        sources.append(source)
        types += source.task_types
        of_types = [n for n in own if not task_types or types[n] in task_types]
        if task_types and not of_types:
            raise UserError(
                f"train.mixture {path!r}",
                f"has no example of the task types {task_types}",
                "name others in task_types, or none for all examples",
            )
        draw = random.Random(f"{seed}|{'|'.join([path, *task_types])}")
        numbers += _repeat(of_types, weight, draw)
    if train.balance == "task_type":
        numbers = _balance(numbers, types, random.Random(f"{seed}|balance"))
    allowed = [is_allowed for source in sources for is_allowed in source.allowed]
    numbers = [number for number in numbers if allowed[number]]
    return SelectedExamples(JoinedSources(sources), numbers)


def _open_rows(
    inputs: TrainingInputs, path: str, train: Train
) -> tuple[ReadableRows, Iterator[ScoredExample]]:
    """Open a source's rows by number, and the same with their scores."""
    if path == TITLES:
        titles = _Titles(inputs.passages)
        return titles, (score_from_example(row, train) for row in titles)
    for stage in inputs.examples:
        if stage.name == path:
            scored = read_scored_examples(stage, train, inputs.labels, inputs.teacher_scores)
            return Reader(EXAMPLES, stage.folder), scored
    rows = Reader(EXAMPLES, _find_folder(inputs.run.folder, path))
    return rows, (score_from_example(row, train) for row in rows)


def _find_folder(run: Path, path: str) -> Path:
    """Return a stage of the run by its name, or else any folder."""
    return run / path if (run / path).is_dir() else parse_path(path)


def _make_mark(run: Path, path: str) -> str:
    folder = _find_folder(run, path)
    if not list_shards(folder):
        raise UserError(
            f"train.mixture {path!r}",
            "is neither a stage of this run nor a folder of examples",
            f"name a stage, such as examples, a folder of .parquet shards, or {TITLES}",
        )
    return (
        open_stage(folder).fingerprint if folder.parent == run else identify_revision(str(folder))
    )


def check_sources(run: Path, train: Train, generate: Generate, passages: Stage | None) -> None:
    """Check, before anything is paid for: whether what the mixtures name will be there to train on.
    What is made and in no mixture is warned of.

    Raises:
        UserError: for a name that nothing has, or titles of a corpus without any.
    """
    made = generate.example_stages
    for stage in train.list_stages().values():
        check_titles(stage, passages)
        for source in stage.mixture:
            if source.path not in {TITLES, *made}:
                _make_mark(run, source.path)
    for name in find_untrained_stages(train, generate):
        _logger.warning(
            "%s: is made by generate.methods, and no train.mixture has it: nothing is learnt from "
            "it. Add {path: %s} to a mixture, or leave mixture out for all examples",
            name,
            name,
        )


def find_untrained_stages(train: Train, generate: Generate) -> list[str]:
    """Find the stages of examples that the recipe makes and trains on in no stage of training."""
    stages = list(train.list_stages().values())
    if any(not stage.mixture for stage in stages):
        return []
    named = {source.path for stage in stages for source in stage.mixture}
    return [name for name in generate.example_stages if name not in named]


def check_titles(train: Train, passages: Stage | None) -> None:
    """Check that the corpus has titles if the mixture asks for them.

    Raises:
        UserError: if titles are asked for without a corpus that has any.
    """
    rows = iter(()) if passages is None else read_rows(PASSAGES, passages.folder)
    wanted = any(source.path == TITLES for source in train.mixture)
    if wanted and not any(_has_title(row) for row in rows):
        raise UserError(
            f"train.mixture {TITLES!r}",
            "there is no passage that has a title",
            f"take {TITLES} out of the mixture, or name a corpus with titles",
        )


def _has_title(row: Row) -> bool:
    return bool(row["title"].strip() and row["text"].strip())


class _Titles:
    """Every passage that has a title, as what the title asks for: what pre-finetuning is on (Gecko,
    section 3.1; E5). Passages are read on demand."""

    def __init__(self, passages: Stage | None) -> None:
        self._passages = None if passages is None else PassageReader(passages.folder)
        rows = enumerate(self._passages or ())
        self._numbers = array("q", (number for number, row in rows if _has_title(row)))

    def __iter__(self) -> Iterator[Row]:
        return (self[number] for number in range(len(self._numbers)))

    def __getitem__(self, number: int) -> Row:
        if self._passages is None:
            raise IndexError(number)
        row = self._passages[self._numbers[number]]
        return {
            "query_id": f"title~{row['passage_id']}",
            "task": TITLES_TASK,
            "task_type": TITLES,
            "query": row["title"].strip(),
            "seed_id": row["passage_id"],
            "positive_id": row["passage_id"],
            "positive": row["text"],
            "negative_ids": [],
            "negatives": [],
            "positive_score": None,
            "negative_scores": [],
            "relabelled": False,
        }


def _repeat(numbers: Sequence[int], weight: float, draw: random.Random) -> list[int]:
    """Return every example as often as the weight's whole part says, and for the rest of the weight
    that share of the examples, drawn by chance."""
    whole, rest = divmod(weight, 1)
    chosen = sorted(draw.sample(range(len(numbers)), round(rest * len(numbers))))
    return [*numbers] * int(whole) + [numbers[i] for i in chosen]


def _balance(numbers: Sequence[int], types: Sequence[str], draw: random.Random) -> list[int]:
    """Return as many examples in all, and the same number of each type of task.

    Args:
        types: by an example's number.
    """
    by_type: dict[str, list[int]] = defaultdict(list)
    for number in numbers:
        by_type[types[number]].append(number)
    return [
        number
        for of_type in by_type.values()
        for number in _repeat(of_type, len(numbers) / len(by_type) / len(of_type), draw)
    ]
