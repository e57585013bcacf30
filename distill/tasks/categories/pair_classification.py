"""Pair classification: pairs of texts that mean the same, or do not."""

from pathlib import Path
from typing import Any

from distill.errors import UserError, need
from distill.tasks.layout import TaskLayout
from distill.tasks.table import read_table

FILE = "pairs.tsv"


def _read(task: Any, folder: Path) -> dict[str, Any]:
    rows = list(read_table(folder / FILE, ("sent1", "sent2", "label"), texts=("sent1", "sent2")))
    labels = [_label(where, fields[2]) for where, fields in rows]
    if len(set(labels)) < 2:
        raise UserError(
            str(folder / FILE),
            f"labels all pairs {labels[0]}",
            "write pairs of both kinds, 1 where they mean the same and 0 where not",
        )
    data = need("datasets", "eval").Dataset.from_dict(
        {
            task.input1_column_name: [fields[0] for _, fields in rows],
            task.input2_column_name: [fields[1] for _, fields in rows],
            task.label_column_name: labels,
        }
    )
    return dict.fromkeys(task.eval_splits, data)


def _label(where: str, text: str) -> int:
    if text.strip() not in ("0", "1"):
        raise UserError(
            where, f"has {text!r} as label", "write 1 where the two mean the same, else 0"
        )
    return int(text)


PAIR_CLASSIFICATION = TaskLayout(
    category="PairClassification",
    base="AbsTaskPairClassification",
    metric="max_ap",
    says=f"{FILE} (sent1, sent2, label 0 or 1)",
    evaluated=FILE,
    marks=lambda folder: (folder / FILE).is_file(),
    read=_read,
)
