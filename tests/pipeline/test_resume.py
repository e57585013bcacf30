"""kill -9 at any point: the same command continues, and the tables end byte for byte the same.

The whole job is killed over and over, each time after a few commits, before a commit and after one
in turn, until it comes through: every stage is killed, most of them at several points.
"""

import gc
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from helpers.fresh_process import CONTEXT

LIFE = 2
"""Commits; a life that ends where the last one did is followed by a longer one, since some steps
(a model's files moving into place) are of many commits."""
STAGES = [
    "passages",
    "generations",
    "parsed",
    "queries",
    "candidates",
    "vectors",
    "judgements-ql",
    "judgements-rc",
    "labels",
    "examples",
    "base",
    "student",
    "evaluation",
]


def _live(recipe_file: Path, folder: Path, commits: int, after: bool) -> None:
    """Run the job in this process, which dies at its so-many-th commit."""
    import torch

    from distill.pipeline.job import Job
    from distill.recipe import load_recipe
    from distill.store.run import Run

    gc.freeze()  # no collection goes through the libraries' objects, and copies their memory
    torch.set_num_threads(1)
    replace = os.replace
    count = 0

    def deadly(source: str | Path, target: str | Path) -> None:
        nonlocal count
        count += 1
        if count == commits:
            with (folder.parent / "deaths").open("a") as deaths:
                deaths.write(f"{Path(target).relative_to(folder).parts[0]}\n")
        if count == commits and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if count == commits:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = deadly
    recipe = load_recipe(recipe_file)
    with Run(folder) as run:
        Job(run, recipe).evaluate()


def _run(recipe_file: Path, folder: Path, commits: int, after: bool) -> int:
    process = CONTEXT.Process(target=_live, args=(recipe_file, folder, commits, after))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _tables(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("*/*.parquet"), *folder.glob("*/.stage/*.parquet")]
    paths += [*folder.glob("vectors/*/vectors.npy"), *folder.glob("*/*.safetensors")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def _live_until_through(recipe_file: Path, folder: Path) -> None:
    """Run and be killed, after one commit more wherever a life ended where the last one did."""
    deaths: list[str] = []
    commits, last = LIFE, -signal.SIGKILL
    while last == -signal.SIGKILL:
        last = _run(recipe_file, folder, commits, after=bool(len(deaths) % 2))
        before, deaths = deaths[-1:], (folder.parent / "deaths").read_text().split()
        commits = commits + LIFE if deaths[-1:] == before else LIFE
        assert len(deaths) < 400
    assert last == 0


@pytest.mark.slow
def test_killed_at_many_points_equals_undisturbed(recipe_file, whole_run, tmp_path):
    killed = tmp_path / "killed"
    _live_until_through(recipe_file, killed)
    # The long life that the student's files needed went through the evaluation too: once more.
    shutil.rmtree(killed / "evaluation")
    _live_until_through(recipe_file, killed)
    deaths = (tmp_path / "deaths").read_text().split()
    by_stage = Counter(death.strip(".").removesuffix(".new") for death in deaths)
    assert set(STAGES) <= by_stage.keys()
    assert sum(by_stage[stage] for stage in STAGES) >= 2 * len(STAGES), by_stage
    undisturbed = _tables(whole_run)
    assert len(undisturbed) > 30
    assert _tables(killed) == undisturbed
