"""The work of a run on a Ray cluster of two nodes, which is a real one: the same bytes as in this
process, whoever is killed."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from helpers.fresh_process import CONTEXT
from helpers.ray_work import SmallCluster, open_lengths, refuse_to_open
from helpers.written_files import files, list_tables

from distill.errors import UserError
from distill.pipeline.job import Job
from distill.recipe import load_recipe, override
from distill.store.run import Run
from distill.store.stage import Stage, open_stage
from distill.store.tables import DROPPED
from distill.workers.proof import NONCE
from distill.workers.protocol import WorkerNeeds
from distill.workers.ray_team import RayTeam

pytestmark = pytest.mark.slow
ITEMS = [f"item {number}" for number in range(12)]


@pytest.fixture(scope="module")
def cluster():
    cluster = SmallCluster()
    yield cluster
    cluster.shutdown()


def fill(run: Run, opens, items=ITEMS) -> Stage:
    stage = run.open_stage("words", {})
    stage.map_on_workers(DROPPED, items, opens, WorkerNeeds())
    stage.finish()
    return stage


@pytest.fixture
def on_cluster(cluster, tmp_path):
    """Fill a stage on the cluster."""
    (tmp_path / "marks").mkdir()

    def run_on_cluster(items=ITEMS, opens=None, pause=0.0, **settings) -> Stage:
        opens = opens or partial(open_lengths, tmp_path / "marks", pause)
        with Run(tmp_path / "run") as run:
            run.use_workers(cluster.workers(run.folder, **settings))
            return fill(run, opens, items)

    return run_on_cluster


@pytest.fixture
def locally(tmp_path):
    """The files of the same stage, made in this process."""

    def run_here(items=ITEMS) -> dict[str, bytes]:
        (tmp_path / "marks here").mkdir()
        with Run(tmp_path / "here") as run:
            return files(fill(run, partial(open_lengths, tmp_path / "marks here"), items).folder)

    return run_here


def begun(tmp_path: Path) -> int:
    return sum(len(path.read_text()) for path in (tmp_path / "marks").iterdir())


def test_batches_that_fail_once_on_a_ray_cluster_are_tried_again(on_cluster, locally, tmp_path):
    """A worker that dies, an engine that fails, an exception."""
    items = [*ITEMS[:3], "dies once", "fails once", "engine", *ITEMS[3:]]
    stage = on_cluster(items)
    whole = locally([f"{item}" for item in items if "once" not in item and item != "engine"])
    assert len(files(stage.folder)) == len(whole) + 3
    execution = stage.manifest["execution"]
    assert execution["on"] == "ray"
    assert execution["workers_lost"] == 2
    assert execution["batches_tried_again"] == 3
    assert not (tmp_path / "run" / NONCE).exists()
    assert [row["item_id"] for row in stage.read_rows(DROPPED)] == items


def test_a_node_that_is_killed_costs_two_shards_at_most(cluster, on_cluster, locally, tmp_path):
    commit, killed = Stage.commit_shard, []

    def deadly(self, path, *rest):
        commit(self, path, *rest)
        if len(list(self.folder.glob("*.parquet"))) == 4 and not killed:
            killed.append(path)
            cluster.kill_node()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "commit_shard", deadly)
        stage = on_cluster(pause=0.3)
    cluster.add_node()
    assert killed
    assert files(stage.folder) == locally()
    assert begun(tmp_path) <= len(ITEMS) + 2
    assert stage.manifest["execution"]["workers_lost"] >= 1


def test_when_all_nodes_are_lost_the_run_waits_for_one_and_goes_on(
    cluster, on_cluster, locally, tmp_path
):
    commit, check, killed = Stage.commit_shard, RayTeam._check_patience, []

    def deadly(self, path, *rest):
        commit(self, path, *rest)
        if len(list(self.folder.glob("*.parquet"))) == 4 and not killed:
            cluster.kill_node()
            cluster.kill_node()
            killed.append(time.monotonic())

    def bring_one_back(self):
        check(self)
        if killed and not cluster.nodes and time.monotonic() - killed[0] > 15:
            cluster.add_node()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "commit_shard", deadly)
        patch.setattr(RayTeam, "_check_patience", bring_one_back)
        stage = on_cluster(pause=0.3, patience=100)
    cluster.add_node()
    assert files(stage.folder) == locally()
    assert begun(tmp_path) <= len(ITEMS) + 4
    assert stage.manifest["execution"]["workers_lost"] >= 2


@pytest.mark.bad_input("cluster", "a shard that ends its worker each time", "refused by its item")
def test_a_poison_shard_ends_the_run_with_what_was_done_kept(on_cluster, tmp_path):
    with pytest.raises(UserError) as refused:
        on_cluster([*ITEMS[:2], "poison"], tries=2)
    assert "'poison'" in refused.value.where
    assert "failed 2 times" in refused.value.what
    assert len(list((tmp_path / "run" / "words").glob("*.parquet"))) == 2


@pytest.mark.bad_input("cluster", "bad input that a worker meets", "refused as in one process")
def test_bad_input_is_refused_as_in_this_process(on_cluster):
    with pytest.raises(UserError) as refused:
        on_cluster([*ITEMS[:2], "bad"])
    assert (refused.value.where, refused.value.remedy) == ("row bad", "correct it")
    with pytest.raises(UserError, match="has no weights"):
        on_cluster(opens=refuse_to_open)


@pytest.mark.bad_input("cluster", "no node has what a worker asks for", "refused after a while")
def test_without_a_place_for_workers_the_run_ends_and_says_what_the_cluster_has(on_cluster):
    with pytest.raises(UserError) as refused:
        on_cluster(cpus={"cpu": 64}, patience=3)
    assert "64 CPUs" in refused.value.what
    assert "2 CPUs" in refused.value.what


def _live(address: str, folder: Path, marks: Path, commits: int) -> None:
    """A driver that dies after some commits."""
    from distill.workers.ray_pool import ClusterSettings
    from distill.workers.ray_team import RayWorkers

    commit, count = Stage.commit_shard, 0

    def deadly(self, path, *rest):
        nonlocal count
        commit(self, path, *rest)
        count += 1
        if count == commits:
            os.kill(os.getpid(), signal.SIGKILL)

    Stage.commit_shard = deadly
    with Run(folder) as run:
        run.use_workers(RayWorkers(ClusterSettings(address=address), folder))
        fill(run, partial(open_lengths, marks, 0.1))


def test_a_driver_that_is_killed_continues_and_leaves_no_worker(
    cluster, on_cluster, locally, tmp_path
):
    arguments = (cluster.address, tmp_path / "run", tmp_path / "marks", 3)
    driver = CONTEXT.Process(target=_live, args=arguments)
    driver.start()
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    stage = on_cluster()  # its two CPUs are free again, or nothing would be done
    assert files(stage.folder) == locally()
    assert begun(tmp_path) <= len(ITEMS) + 4


def test_recipe_on_a_cluster_whose_node_is_killed_gives_the_bytes_of_this_process(
    cluster, recipe_file, tmp_path
):
    filters = ["generate.filters.round_trip=12", "generate.filters.near_duplicates=0.8"]
    here = load_recipe(recipe_file, filters)
    on = {"mode": "ray", "address": cluster.address}
    with Run(tmp_path / "here") as run:
        Job(run, here).relabel()
    commit, killed = Stage.commit_shard, []

    def deadly(self, path, *rest):
        commit(self, path, *rest)
        if self.name == "judgements-ql" and not killed:
            killed.append(path)
            cluster.kill_node()

    with pytest.MonkeyPatch.context() as patch, Run(tmp_path / "ray") as run:
        patch.setattr(Stage, "commit_shard", deadly)
        Job(run, override(here, {"execution": on})).relabel()
    cluster.add_node()
    assert killed
    whole, made = (list_tables(tmp_path / name) for name in ("here", "ray"))
    assert made.keys() == whole.keys()
    assert [name for name in whole if made[name] != whole[name]] == []
    for name in ("generations", "parsed", "queries", "candidates", "labels", "examples"):
        assert open_stage(tmp_path / "ray" / name).manifest["execution"]["on"] == "ray"
