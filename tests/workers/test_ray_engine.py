"""An engine whose model is in a child process of a Ray worker, as vLLM's is."""

from functools import partial

import psutil
import pytest
from helpers.ray_engine import open_engine
from helpers.ray_work import wait_until

from distill.store.run import Run
from distill.store.tables import DROPPED
from distill.workers.protocol import WorkerNeeds

pytestmark = pytest.mark.slow
ITEMS = [*(f"item {number}" for number in range(4)), "stops", "item 4"]


def test_engine_whose_child_is_killed_is_replaced_and_its_work_is_done_again(cluster, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    needs = WorkerNeeds("llm", device="cpu")
    with Run(tmp_path / "run") as run:
        run.use_workers(cluster.make_workers(run.folder))
        stage = run.open_stage("words", {})
        stage.map_on_workers(DROPPED, ITEMS, partial(open_engine, marks), needs)
        stage.finish()
    assert (marks / "computing").exists()
    rows = [(row["item_id"], row["text"]) for row in stage.read_rows(DROPPED)]
    assert rows == [(item, item[::-1]) for item in ITEMS]
    execution = stage.manifest["execution"]
    assert (execution["workers_lost"], execution["batches_tried_again"]) == (1, 1)
    children = [int(path.name.removeprefix("child-")) for path in marks.glob("child-*")]
    assert len(children) >= 2
    wait_until(lambda: not any(map(psutil.pid_exists, children)))
