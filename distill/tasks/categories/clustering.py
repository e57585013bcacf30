"""Clustering: texts, and the group that each belongs to."""

from pathlib import Path
from typing import Any

from distill.errors import UserError, need
from distill.tasks.layout import TaskLayout
from distill.tasks.table import has_header, read_table

FILE = "data.tsv"


def _read(task: Any, folder: Path) -> dict[str, Any]:
    legacy = isinstance(task, need("mteb.abstasks", "eval").AbsTaskClusteringLegacy)
    data = _split_sets(task, folder / FILE) if legacy else _read_texts(task, folder / FILE)
    return dict.fromkeys(task.eval_splits, data)


def _read_texts(task: Any, file: Path) -> Any:
    rows = [fields for _, fields in read_table(file, ("text", "label"), texts=("text",))]
    share = task.max_fraction_of_documents_to_embed
    if share is not None and int(share * len(rows)) < 1:
        raise UserError(
            str(file),
            f"has {len(rows)} rows, of which {task.metadata.name} reads {share:.0%}: none",
            "copy the whole task, or name the folder as a task of your own",
        )
    return need("datasets", "eval").Dataset.from_dict(
        {
            task.input_column_name: [text for text, _ in rows],
            task.label_column_name: [label for _, label in rows],
        }
    )


def _split_sets(task: Any, file: Path) -> Any:
    """Split into sets: mteb's first clustering tasks are clustered set by set, and the score is the
    mean."""
    if not has_header(file, ("set",)):
        raise UserError(
            str(file),
            f"{task.metadata.name} is clustered in sets, and there is no column 'set'",
            "say in a column 'set' which texts are clustered together",
        )
    texts: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for _, (text, label, name) in read_table(file, ("text", "label", "set"), texts=("text",)):
        texts.setdefault(name, []).append(text)
        labels.setdefault(name, []).append(label)
    return need("datasets", "eval").Dataset.from_dict(
        {
            task.input_column_name: list(texts.values()),
            task.label_column_name: list(labels.values()),
        }
    )


CLUSTERING = TaskLayout(
    category="Clustering",
    base="AbsTaskClustering",
    metric="v_measure",
    says=f"{FILE} (text, label)",
    evaluated=FILE,
    marks=lambda folder: (folder / FILE).is_file(),
    read=_read,
    # mteb's own default, 4 % of the texts, is for sets of its size.
    settings={"max_fraction_of_documents_to_embed": None},
)
