"""What examples are trained on, and how often each is seen: several sets of them, with weights, or
balanced by type of task."""

import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from distill.errors import UserError
from distill.files.read import user_path
from distill.models.reference import revision
from distill.recipe import Recipe, Train
from distill.recipe.sections.train import TITLES
from distill.store.run import Run
from distill.store.shards import shards
from distill.store.stage import Stage, open_stage
from distill.store.tables import EXAMPLES, PASSAGES, Row, read_rows
from distill.train.data.soft_labels import ScoredExample, read_scored_examples, score_from_example

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
    """What the content of each named source is known by, but for those that are inputs anyway.

    Raises:
        UserError: for a name that is neither a stage of the run nor a folder of examples.
    """
    known = {stage.name for stage in inputs.examples} | {TITLES}
    named = [source.path for source in train.mixture if source.path not in known]
    return {path: _mark(inputs.run.folder, path) for path in named}


def read_mixture(inputs: TrainingInputs, train: Train, seed: int) -> list[ScoredExample]:
    """The rows of an epoch, with their soft scores, in the order of the sources.

    Raises:
        UserError: if a source has no example of the task types that are named.
    """
    if not train.mixture:
        rows = [row for stage in inputs.examples for row in _of_stage(inputs, stage, train)]
    else:
        rows = []
        for source in train.mixture:
            draw = random.Random(f"{seed}|{'|'.join([source.path, *source.task_types])}")
            found = [
                scored._replace(source=source.path)
                for scored in _rows_of(inputs, source.path, train)
                if not source.task_types or scored.row["task_type"] in source.task_types
            ]
            if source.task_types and not found:
                raise UserError(
                    f"train.mixture {source.path!r}",
                    f"has no example of the task types {source.task_types}",
                    "name others in task_types, or none for all examples",
                )
            rows += _repeated(found, source.weight, draw)
    if train.balance == "task_type":
        rows = _balanced(rows, random.Random(f"{seed}|balance"))
    return rows


def _rows_of(inputs: TrainingInputs, path: str, train: Train) -> list[ScoredExample]:
    if path == TITLES:
        return [score_from_example(row, train) for row in _titles(inputs.passages)]
    for stage in inputs.examples:
        if stage.name == path:
            return _of_stage(inputs, stage, train)
    rows = read_rows(EXAMPLES, _folder(inputs.run.folder, path))
    return [score_from_example(row, train) for row in rows]


def _of_stage(inputs: TrainingInputs, stage: Stage, train: Train) -> list[ScoredExample]:
    found = read_scored_examples(stage, train, inputs.labels, inputs.teacher_scores)
    return [scored._replace(source=stage.name) for scored in found]


def _folder(run: Path, path: str) -> Path:
    """A stage of the run by its name, or else any folder."""
    return run / path if (run / path).is_dir() else user_path(path)


def _mark(run: Path, path: str) -> str:
    folder = _folder(run, path)
    if not shards(folder):
        raise UserError(
            f"train.mixture {path!r}",
            "is neither a stage of this run nor a folder of examples",
            f"name a stage, such as examples, a folder of .parquet shards, or {TITLES}",
        )
    return open_stage(folder).fingerprint if folder.parent == run else revision(str(folder))


def check_sources(run: Path, recipe: Recipe, passages: Stage | None) -> None:
    """Before anything is paid for: whether what the mixtures name will be there to train on. What
    is made and in no mixture is warned of.

    Raises:
        UserError: for a name that nothing has, or titles of a corpus without any.
    """
    made = recipe.generate.example_stages
    for train in recipe.train.in_stages().values():
        check_titles(train, passages)
        for source in train.mixture:
            if source.path not in {TITLES, *made}:
                _mark(run, source.path)
    for name in find_untrained_stages(recipe):
        _logger.warning(
            "%s: is made by generate.methods, and no train.mixture has it: nothing is learnt from "
            "it. Add {path: %s} to a mixture, or leave mixture out for all examples",
            name,
            name,
        )


def find_untrained_stages(recipe: Recipe) -> list[str]:
    """The stages of examples that the recipe makes and trains on in no stage of training."""
    stages = list(recipe.train.in_stages().values())
    if any(not train.mixture for train in stages):
        return []
    named = {source.path for train in stages for source in train.mixture}
    return [name for name in recipe.generate.example_stages if name not in named]


def check_titles(train: Train, passages: Stage | None) -> None:
    """Check that the corpus has titles if the mixture asks for them.

    Raises:
        UserError: if titles are asked for without a corpus that has any.
    """
    if any(source.path == TITLES for source in train.mixture) and not any(_titled(passages)):
        raise UserError(
            f"train.mixture {TITLES!r}",
            "there is no passage that has a title",
            f"take {TITLES} out of the mixture, or name a corpus with titles",
        )


def _titled(passages: Stage | None) -> Iterator[Row]:
    rows = iter(()) if passages is None else read_rows(PASSAGES, passages.folder)
    return (row for row in rows if row["title"].strip() and row["text"].strip())


def _titles(passages: Stage | None) -> list[Row]:
    """Every passage that has a title, as what the title asks for: what pre-finetuning is on (Gecko,
    section 3.1; E5)."""
    return [
        {
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
        for row in _titled(passages)
    ]


def _repeated(rows: list[ScoredExample], weight: float, draw: random.Random) -> list[ScoredExample]:
    """Every row as often as the weight's whole part, and so many more drawn as the rest."""
    whole, rest = divmod(weight, 1)
    chosen = sorted(draw.sample(range(len(rows)), round(rest * len(rows))))
    return rows * int(whole) + [rows[i] for i in chosen]


def _balanced(rows: list[ScoredExample], draw: random.Random) -> list[ScoredExample]:
    """As many rows in all, and the same number of each type of task."""
    by_type: dict[str, list[ScoredExample]] = defaultdict(list)
    for scored in rows:
        by_type[scored.row["task_type"]].append(scored)
    return [
        scored
        for of_type in by_type.values()
        for scored in _repeated(of_type, len(rows) / len(by_type) / len(of_type), draw)
    ]
