"""Work in this process needs nothing of a cluster."""

import sys
from pathlib import Path

from helpers.fresh_process import run_function

from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import DROPPED
from distill.workers.local import LOCAL


def _live(folder: str) -> None:
    from distill.pipeline.job import Job

    with Run(Path(folder)) as run:
        job = Job(run, Recipe(name="mine"))
        assert job.run.workers is LOCAL
        stage = run.open_stage("words", {})
        row = {"item_id": "one", "reason": "two", "text": "three"}
        stage.map_shards(DROPPED, [row], lambda row: ShardResult([row]))
        stage.finish()
        assert "execution" not in stage.manifest
    assert "ray" not in sys.modules


def test_run_in_this_process_does_not_import_ray(tmp_path):
    done = run_function(_live, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
