"""Classification: labelled texts, some to learn from and some to be told."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.errors import UserError, need
from distill.tasks.layout import OWN_SPLITS, TaskLayout
from distill.tasks.table import has_header, read_table

COLUMNS = ("text", "label")


def _read(task: Any, folder: Path) -> Any:
    datasets = need("datasets", "eval")
    if isinstance(task, need("mteb.abstasks", "eval").AbsTaskMultilabelClassification):
        raise UserError(
            str(folder),
            f"{task.metadata.name} gives a text several labels; a folder's files give it one",
            "move the folder away to read the hub",
        )
    splits = dict.fromkeys([task.train_split, *task.eval_splits])
    rows = {split: _read_rows(folder / f"{split}.tsv") for split in splits}
    if len({label for _, label in rows[task.train_split]}) < 2:
        raise UserError(
            str(folder / f"{task.train_split}.tsv"),
            "has one label in all of its rows",
            "write texts of two labels or more",
        )
    ids = _number_labels(label for of_split in rows.values() for _, label in of_split)
    return datasets.DatasetDict(
        {
            split: datasets.Dataset.from_dict(
                {
                    task.input_column_name: [text for text, _ in of_split],
                    task.label_column_name: [ids[label] for _, label in of_split],
                }
            )
            for split, of_split in rows.items()
        }
    )


def _read_rows(file: Path) -> list[tuple[str, str]]:
    rows = read_table(file, COLUMNS, texts=("text",))
    return [(text, label.strip()) for _, (text, label) in rows]


def _number_labels(labels: Iterable[str]) -> dict[str, int]:
    """Number the labels from 0, as mteb takes 1 for the positive one of two: in numeric order if
    the labels are numbers, else by name."""
    known = set(labels)
    numbers = all(label.removeprefix("-").isdecimal() for label in known)
    ordered = sorted(known, key=int) if numbers else sorted(known)
    return {label: i for i, label in enumerate(ordered)}


def _train_file(task: Any) -> tuple[str]:
    return (f"{task.train_split}.tsv",)


CLASSIFICATION = TaskLayout(
    category="Classification",
    base="AbsTaskClassification",
    metric="accuracy",
    says="train.tsv and SPLIT.tsv (text, label)",
    evaluated="{split}.tsv",
    marks=lambda folder: any(
        has_header(folder / f"{split}.tsv", COLUMNS) for split in ("train", *OWN_SPLITS)
    ),
    read=_read,
    others=_train_file,
)
