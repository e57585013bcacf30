"""The layout of a task category in a folder, which the category's module declares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

OWN_SPLITS = ("test", "validation", "dev")
"""The splits on which a user's own task may be evaluated; the first that is there is."""


LOCAL = "local-"
"""How the revision of data begins that lies in a folder or a file."""


@dataclass(frozen=True)
class TaskLayout:
    """The layout of a folder that holds the tasks of one category of mteb."""

    category: str
    """mteb's word for it, `TaskMetadata.type`."""
    base: str
    """The class in mteb.abstasks of a user's own task."""
    metric: str
    """The main score of a user's own task; an official one has its own."""
    says: str
    """The files in a few words, for those who have others."""
    evaluated: str
    """The file of an evaluated split, relative to the folder; without `{split}` there is one."""
    marks: Callable[[Path], bool]
    """Whether a folder's files are of this layout."""
    read: "Callable[[AbsTask, Path], Mapping[str, Any]]"
    """Split -> data as mteb's classes of the category hold it."""
    others: "Callable[[AbsTask], Sequence[str]]" = lambda task: ()
    """Files beside those of the evaluated splits."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the class of a user's own task."""

    def list_files(self, task: "AbsTask") -> list[str]:
        """List every file that the task reads, relative to its folder."""
        of_splits = (self.evaluated.format(split=split) for split in task.eval_splits)
        return list(dict.fromkeys([*self.others(task), *of_splits]))


def get_hub_dataset(task: "AbsTask") -> str | None:
    """Get the hub's id of the data that a task is evaluated on; None where that is a folder or a
    file."""
    if str(task.metadata.revision).startswith(LOCAL):
        return None
    return str(task.metadata.dataset["path"])
