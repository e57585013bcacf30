"""kill -9 of the process that writes a run on a Ray cluster, in stage after stage: its workers end
with it, the same command continues, and the tables end byte for byte as in one process."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from helpers.fresh_process import CONTEXT
from helpers.ray_work import wait_until
from helpers.written_files import read_tables

from distill.embed.vectors import vector_store
from distill.pipeline.job import Job
from distill.recipe import Recipe, load_recipe, override
from distill.store.run import Run

pytestmark = pytest.mark.slow
SETTINGS = [
    "relabel.shard_size=3",
    "generate.shard_size=3",
    "generate.filters.round_trip=12",
    "generate.filters.near_duplicates=0.8",
]
DEATHS = [
    ("generations", "before"),
    ("vectors", "after"),
    ("queries", "before"),
    ("judgements-ql", "after"),
    ("examples", "before"),
]
"""The stages in which a life ends, and whether before its second commit there or after it."""


def run_until_killed(folder: Path, recipe: Recipe, marks: Path, stage: str, moment: str) -> None:
    """Run in this process until it kills itself, which notes the processes of its workers."""
    replace, record = os.replace, vector_store.record_chunk
    commits = 0

    def die() -> None:
        pids = [handle.identity.pid for handle in run.workers.handles if handle.identity]
        (marks / "workers").write_text(json.dumps(pids))
        os.kill(os.getpid(), signal.SIGKILL)

    def replace_and_die(source: str | Path, target: str | Path) -> None:
        nonlocal commits
        of = Path(target)
        commits += of.parent == folder / stage and of.suffix == ".parquet"
        if commits == 2 and moment == "before":
            die()
        replace(source, target)
        if commits == 2:
            die()

    def record_and_die(*rest) -> None:
        record(*rest)
        if stage == "vectors":
            die()

    os.replace, vector_store.record_chunk = replace_and_die, record_and_die
    with Run(folder) as run:
        Job(run, recipe).relabel()


def test_driver_killed_in_each_stage_continues_to_the_bytes_of_one_process(
    cluster, recipe_file, tmp_path
):
    recipe = load_recipe(recipe_file, SETTINGS)
    with Run(tmp_path / "here") as run:
        Job(run, recipe).relabel()
    one = {"llm": 1, "encoder": 1, "cpu": 1}  # worker, which is soonest ready
    execution = {"mode": "ray", "address": cluster.address, "workers": one}
    on_cluster = override(recipe, {"execution": execution})
    for stage, moment in DEATHS:
        arguments = (tmp_path / "ray", on_cluster, tmp_path, stage, moment)
        driver = CONTEXT.Process(target=run_until_killed, args=arguments)
        driver.start()
        driver.join()
        assert driver.exitcode == -signal.SIGKILL, stage
        workers = json.loads((tmp_path / "workers").read_text())
        assert workers
        wait_until(lambda pids=workers: not any(map(psutil.pid_exists, pids)))
    with Run(tmp_path / "ray") as run:
        Job(run, on_cluster).relabel()
    assert read_tables(tmp_path / "ray") == read_tables(tmp_path / "here")
