"""Semantic textual similarity: pairs of sentences with a score."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UserError, need
from distill.tasks.layout import OWN_SPLITS, TaskLayout
from distill.tasks.table import has_header, read_table

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

COLUMNS = ("sentence1", "sentence2", "score")


def _read(task: "AbsTask", folder: Path) -> dict[str, Any]:
    return {split: _split(task, folder / f"{split}.tsv") for split in task.eval_splits}


def _split(task: Any, file: Path) -> Any:
    first, second = task.column_names
    rows = list(read_table(file, COLUMNS, texts=COLUMNS[:2]))
    scores = [_score(where, fields[2]) for where, fields in rows]
    if len(set(scores)) < 2:
        raise UserError(
            str(file),
            "gives all pairs one score, so that there is no order to be found",
            "write pairs of different similarity",
        )
    return need("datasets", "eval").Dataset.from_dict(
        {
            first: [fields[0] for _, fields in rows],
            second: [fields[1] for _, fields in rows],
            "score": scores,
        }
    )


def _score(where: str, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(where, f"has {text!r} as score", "write a number, the higher the closer")
    return score


STS = TaskLayout(
    category="STS",
    base="AbsTaskSTS",
    metric="cosine_spearman",
    says="SPLIT.tsv (sentence1, sentence2, score)",
    evaluated="{split}.tsv",
    marks=lambda folder: any(has_header(folder / f"{s}.tsv", COLUMNS) for s in OWN_SPLITS),
    read=_read,
)
