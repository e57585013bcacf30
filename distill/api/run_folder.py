"""A run's folder as a script reads it: its student, its scores and its tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import UserError
from distill.files.read import parse_path
from distill.recipe import Recipe
from distill.recipe import load_recipe as read_recipe
from distill.store.stage import Stage, open_stage

if TYPE_CHECKING:
    from datasets import Dataset

    from distill.evaluate.summary import Summary


@dataclass(frozen=True)
class RunFolder:
    """A run in its folder. It can be given wherever a path of a run is.

    `stages` are those that the call brought to their end, which returned this; of a run that was
    opened, all that are complete.
    """

    folder: Path
    stages: Sequence[Stage] = ()

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def recipe(self) -> Recipe:
        """The recipe under which the run was made."""
        return read_recipe(self.folder / "recipe.yaml")

    @property
    def student(self) -> Path:
        """The folder of the trained model, for `SentenceTransformer(str(run.student))`.

        Raises:
            UserError: if it is not trained yet.
        """
        student = self.folder / "student"
        if not (student / "modules.json").is_file():
            raise UserError(
                str(self.folder),
                "has no student yet",
                f"train it: distill train-student --run {self.folder}",
            )
        return student

    @property
    def summary(self) -> "Summary":
        """Scores of student, teacher and base on each task, with the intervals of their
        differences, speed and size.

        Raises:
            UserError: if the run, as it stands, is not evaluated.
        """
        from distill.evaluate.run_summary import read_run_summary

        summary = read_run_summary(self.folder)
        if summary is None:
            raise UserError(
                str(self.folder), "is not evaluated yet", "evaluate it with `distill run`"
            )
        return summary

    @property
    def tables(self) -> list[str]:
        """The names of the run's tables."""
        from distill.inspect.tables import list_tables

        return list(list_tables(self.folder))

    def table(self, name: str) -> "Dataset":
        """Return one table of the run, such as `examples` or `judgements-ql`. Its shards are not
        held in memory: datasets converts them once into memory-mapped files in its own cache.

        Raises:
            UserError: if the run has no such table, or a shard is damaged.
        """
        from datasets import Dataset, Features

        from distill.inspect.tables import list_tables
        from distill.store.integrity import check_files
        from distill.store.shards import list_shards

        tables = list_tables(self.folder)
        if name not in tables:
            raise UserError(
                str(self.folder / name),
                "is not a table of this run",
                f"this run has: {', '.join(tables)}",
            )
        folder = self.folder / name
        files = [str(path) for path in check_files(open_stage(folder), list_shards(folder))]
        features = Features.from_arrow_schema(tables[name].schema)
        return Dataset.from_parquet(files, features=features)


def open_run(folder: str | Path) -> RunFolder:
    """Open a run's folder for reading.

    >>> open_run("runs/mine").student
    PosixPath('runs/mine/student')

    Raises:
        UserError: if the folder holds no run.
    """
    path = parse_path(fspath(folder))
    manifests = sorted(path.glob("*/.stage/manifest.json"), key=lambda p: p.stat().st_mtime)
    if not (path / "recipe.yaml").is_file():
        raise UserError(str(path), "is not a run", "name a folder that `distill run` has written")
    stages = [open_stage(manifest.parent.parent) for manifest in manifests]
    return RunFolder(path, [stage for stage in stages if stage.complete])
