"""Fill a task from a folder: an offline copy of an official one, or the user's own."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UserError, need
from distill.tasks.categories.classification import CLASSIFICATION
from distill.tasks.categories.clustering import CLUSTERING
from distill.tasks.categories.pair_classification import PAIR_CLASSIFICATION
from distill.tasks.categories.reranking import RERANKING
from distill.tasks.categories.retrieval import RETRIEVAL
from distill.tasks.categories.sts import STS
from distill.tasks.layout import LOCAL, OWN_SPLITS, TaskLayout

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

LAYOUTS: Mapping[str, TaskLayout] = {
    layout.category: layout
    for layout in (
        RETRIEVAL,
        RERANKING,
        STS,
        CLASSIFICATION,
        CLUSTERING,
        PAIR_CLASSIFICATION,
    )
}


def fill(task: "AbsTask", folder: Path) -> "AbsTask":
    """Fill the task from the folder instead of by `load_data`, which would read the hub.

    Raises:
        UserError: if no folder can hold such a task, or a file is missing or faulty.
    """
    layout = LAYOUTS.get(task.metadata.type)
    if layout is None:
        raise UserError(
            str(folder),
            f"{task.metadata.name} is a task of the category {task.metadata.type}, which is read "
            "from the hub alone",
            "move the folder away to read the hub",
        )
    files = layout.list_files(task)
    _check(task, folder, layout, files)
    return set_data(task, layout.read(task, folder), _hash_content(folder, files))


def set_data(task: "AbsTask", splits: Mapping[str, Any], revision: str) -> "AbsTask":
    """Give the task the data of its splits, as mteb's classes hold it, with this revision."""
    task.dataset = {task.hf_subsets[0]: splits}
    task.data_loaded = True
    source = dict(task.metadata.dataset) | {"revision": revision}
    task.metadata = task.metadata.model_copy(update={"dataset": source})
    return task


def read_own_task(name: str, folder: Path) -> "AbsTask":
    """Make the user's own task, of the category that its files are laid out for.

    Raises:
        UserError: if the files are of no category or of several, or one is missing or faulty.
    """
    layout = _find_layout(folder)
    return fill(make_own_task(name, layout, _split(layout, folder)), folder)


def make_own_task(name: str, layout: TaskLayout, split: str) -> "AbsTask":
    """Make a user's own task, still without data, evaluated on one split."""
    metadata = need("mteb.abstasks.task_metadata", "eval").TaskMetadata(
        name=name.replace("/", "-"),
        description="A collection of the user's own.",
        type=layout.category,
        category="t2c" if layout in (CLASSIFICATION, CLUSTERING) else "t2t",
        # mteb loads by this; the task is given its data before it could.
        dataset={"path": f"own/{name}", "revision": "unread"},
        eval_splits=[split],
        # Undetermined language and script: nothing says which they are.
        eval_langs=["und-Zyyy"],
        main_score=layout.metric,
    )
    base = getattr(need("mteb.abstasks", "eval"), layout.base)
    members = {"metadata": metadata} | dict(layout.settings)
    own: type[AbsTask] = type(f"Own{layout.category}", (base,), members)
    return own()


def _find_layout(folder: Path) -> TaskLayout:
    fitting = [layout for layout in LAYOUTS.values() if layout.marks(folder)]
    if len(fitting) == 1:
        return fitting[0]
    kinds = " and of ".join(layout.category for layout in fitting)
    raise UserError(
        str(folder),
        f"holds the files of {kinds}" if fitting else "holds the files of no kind of task",
        "give each task a folder of its own"
        if fitting
        else "write one of: " + "; ".join(layout.says for layout in LAYOUTS.values()),
    )


def _split(layout: TaskLayout, folder: Path) -> str:
    names = {split: layout.evaluated.format(split=split) for split in OWN_SPLITS}
    for split, name in names.items():
        if (folder / name).is_file():
            return split
    raise UserError(
        str(folder),
        f"has nothing to be evaluated on: none of {', '.join(names.values())}",
        f"a task of the category {layout.category} has {layout.says}",
    )


def _check(task: "AbsTask", folder: Path, layout: TaskLayout, files: Sequence[str]) -> None:
    if len(task.hf_subsets) > 1:
        raise UserError(
            str(folder),
            f"{task.metadata.name} has several languages; an offline copy holds one",
            "move the folder away to read the hub, or name it as a task of your own",
        )
    if len(task.eval_splits) > 1 and "{split}" not in layout.evaluated:
        raise UserError(
            str(folder),
            f"{task.metadata.name} is evaluated on the splits {', '.join(task.eval_splits)}; "
            f"{layout.evaluated} holds one",
            "move the folder away to read the hub, or name it as a task of your own",
        )
    for name in files:
        if not (folder / name).is_file():
            raise UserError(
                str(folder),
                f"has no {name}, which {task.metadata.name} reads",
                f"a task of the category {layout.category} has {layout.says}",
            )


def _hash_content(folder: Path, files: Sequence[str]) -> str:
    """Hash the bytes of the task's files: a revision that changes whenever they do."""
    digest = hashlib.sha256()
    for name in files:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{LOCAL}{digest.hexdigest()[:16]}"
