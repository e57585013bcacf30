"""kill -9 at any point: the same command continues, and the tables end byte for byte the same.

The whole job is killed over and over, each time after a few more commits, once before a commit and
once after it, until it comes through: so every stage is killed at several points.
"""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

FIRST_LIFE = 4
"""Commits; each further life has one more, since some steps are of many commits."""


def _live(recipe_file: Path, folder: Path, commits: int, after: bool) -> None:
    """Run the job in this process, which dies at its so-many-th commit."""
    import torch

    from distill.pipeline import Job
    from distill.recipe import load_recipe
    from distill.run import Run

    torch.set_num_threads(1)
    replace = os.replace
    count = 0

    def deadly(source: str | Path, target: str | Path) -> None:
        nonlocal count
        count += 1
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["distill.pipeline", "distill.student.train", "distill.evaluate.stage", "mteb"]
    )
    process = context.Process(target=_live, args=(recipe_file, folder, commits, after))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _tables(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("*/*.parquet"), *folder.glob("*/.stage/*.parquet")]
    paths += [*folder.glob("vectors/*/vectors.npy"), *folder.glob("*/*.safetensors")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.slow
def test_killed_at_many_points_equals_undisturbed(recipe_file, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _run(recipe_file, whole, commits=10**6, after=False) == 0
    lives, last = 0, -signal.SIGKILL
    while last == -signal.SIGKILL:
        last = _run(recipe_file, killed, FIRST_LIFE + lives, after=bool(lives % 2))
        lives += 1
        assert lives < 60
    assert last == 0
    assert lives > 8
    undisturbed = _tables(whole)
    assert len(undisturbed) > 30
    assert _tables(killed) == undisturbed
