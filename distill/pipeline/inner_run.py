"""A run inside a run, `round-NAME`: stages that are made a second time with other settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.runtime import processes
from distill.store.run import Run


@contextmanager
def open_inner_run(run: Run, name: str) -> Iterator[Run]:
    """Open the run `round-NAME` in a run's folder. It shares the outer run's vectors, which are
    addressed by their content."""
    folder = run.folder / f"round-{name}"
    with processes.let_main_go_first():
        folder.mkdir(exist_ok=True)
        if not (folder / "vectors").exists():
            (run.folder / "vectors").mkdir(exist_ok=True)
            (folder / "vectors").symlink_to(Path("..") / "vectors")
    with Run(folder, run.overwrite, run.workers) as inner:
        inner.mirror = run.mirror
        yield inner
