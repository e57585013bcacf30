"""Processes of their own for tests, without the ten seconds in which each would import torch and
mteb: forked from a server that has imported them and done nothing else."""

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

from helpers.mteb_scores import skip_abstention

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "distill.cli",
        "distill.pipeline.job",
        "distill.generate.filters",
        "distill.generate.brainstorm",
        "distill.relabel.stages",
        "distill.train.stage",
        "distill.evaluate.stage",
        "distill.estimate.estimate",
        "distill.start.check",
        "distill.report.html",
        "matplotlib.figure",
        "matplotlib.backends.backend_svg",
        "distill.llm.transformers.engine",
        "transformers.models.bert.modeling_bert",
        "transformers.models.llama.modeling_llama",
        "mteb",
        "helpers.first_uses",
    ]
)
_HERE = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [os.environ.get("PYTHONPATH"), _HERE])  # where the server finds the last one
)


class FreshProcess:
    """A process that runs a function; what it prints goes into two files of the folder."""

    def __init__(
        self,
        folder: Path,
        function: Callable[..., None],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        whole = {**os.environ, **(environment or {})}
        self._process: ForkServerProcess = CONTEXT.Process(
            target=_run_inside, args=(folder, whole, Path.cwd(), function, arguments)
        )
        self._process.start()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def read_errors(self) -> str:
        """What it has printed so far as errors and progress."""
        return (self.folder / "err").read_text()

    def wait(self) -> CompletedProcess[str]:
        """Wait for its end."""
        self._process.join()
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        code = self._process.exitcode
        assert code is not None
        return CompletedProcess([], code, out, err)


def run_function(
    function: Callable[..., None], *arguments: Any, **environment: str
) -> CompletedProcess[str]:
    """Run a function in a process of its own."""
    with TemporaryDirectory() as folder:
        return FreshProcess(Path(folder), function, *arguments, environment=environment).wait()


def run_distill(*words: str, **environment: str) -> CompletedProcess[str]:
    """The command, as a person calls it."""
    return run_function(run_command, *words, **environment)


def run_command(*words: str) -> None:
    from distill.cli import main

    sys.argv = ["distill", *words]
    main()


def _run_inside(
    folder: Path,
    environment: Mapping[str, str],
    where: Path,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    gc.freeze()  # no collection goes through the libraries' objects, and copies their memory
    skip_abstention()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(where)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    try:
        function(*arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
