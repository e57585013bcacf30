"""The work of a run on a Ray cluster of two nodes, which is a real one: the same bytes as in this
process, whoever is killed."""

import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest
from helpers.fresh_process import CONTEXT, FreshProcess, run_command
from helpers.ray_work import (
    open_lengths,
    open_one_and_then_wait,
    refuse_to_open,
    wait_until,
)
from helpers.written_files import read_files

import distill
from distill import cli
from distill.errors import UserError
from distill.runtime.progress import read_work_state
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import DROPPED
from distill.workers.proof import NONCE
from distill.workers.protocol import WorkerNeeds
from distill.workers.ray_pool import ClusterSettings
from distill.workers.ray_team import RayTeam, RayWorkers

pytestmark = pytest.mark.slow
ITEMS = [f"item {number}" for number in range(12)]


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
            run.use_workers(cluster.make_workers(run.folder, **settings))
            return fill(run, opens, items)

    return run_on_cluster


@pytest.fixture
def locally(tmp_path):
    """The files of the same stage, made in this process."""

    def run_here(items=ITEMS) -> dict[str, bytes]:
        (tmp_path / "marks here").mkdir()
        (tmp_path / "marks here" / "go-on").touch()
        with Run(tmp_path / "here") as run:
            return read_files(
                fill(run, partial(open_lengths, tmp_path / "marks here"), items).folder
            )

    return run_here


def begun(tmp_path: Path) -> int:
    """How often an item was begun."""
    return sum(len(path.read_text()) for path in (tmp_path / "marks").glob("begun-*"))


def test_batches_that_fail_once_on_a_ray_cluster_are_tried_again(cluster, tmp_path):
    """A worker that ends, one that is killed, an engine that fails, an exception. Each in a stage
    of its own: a worker that goes takes another fault, which it has begun, with it."""
    (tmp_path / "marks").mkdir()
    opens = partial(open_lengths, tmp_path / "marks")
    with Run(tmp_path / "run") as run:
        run.use_workers(cluster.make_workers(run.folder))
        for fault in ("dies once", "killed once", "engine", "fails once"):
            items = [*ITEMS[:3], fault, *ITEMS[3:6]]
            stage = run.open_stage(fault.replace(" ", "-"), {})
            stage.map_on_workers(DROPPED, items, opens, WorkerNeeds())
            stage.finish()
            execution = stage.manifest["execution"]
            assert execution["on"] == "ray"
            assert execution["workers_lost"] == (fault != "fails once")
            assert execution["batches_tried_again"] == 1
            assert [row["item_id"] for row in stage.read_rows(DROPPED)] == items
    assert not (tmp_path / "run" / NONCE).exists()


def test_batch_that_fails_is_tried_on_another_worker_where_there_is_one(on_cluster):
    items = ["fails here", *ITEMS]
    stage = on_cluster(items, tries=2)
    assert sorted(row["item_id"] for row in stage.read_rows(DROPPED)) == sorted(items)
    assert stage.manifest["execution"]["batches_tried_again"] == 1


def test_batch_that_fails_on_the_only_worker_is_tried_there_again(on_cluster):
    stage = on_cluster(["fails once"], tries=2, workers={"cpu": 1})
    assert stage.manifest["execution"]["batches_tried_again"] == 1


STOPPED = [*ITEMS[:3], *(f"waits {number}" for number in range(6))]
"""Two workers come to wait, and each of them has one more in flight."""


def have_come_to_wait(tmp_path: Path) -> bool:
    """Whether two workers wait in `STOPPED`, and all that needs no wait is committed."""
    waiting = len(list((tmp_path / "marks").glob("begun-waits*")))
    return waiting == 2 and len(list((tmp_path / "run" / "words").glob("*.parquet"))) == 3


def list_workers(tmp_path: Path) -> list[int]:
    """List the processes that have worked."""
    marks = (tmp_path / "marks").glob("worker-*")
    return [int(path.name.removeprefix("worker-")) for path in marks]


@pytest.mark.parametrize("nodes", [1, 2])
def test_nodes_that_are_killed_cost_the_shards_begun_and_the_run_goes_on(
    cluster, on_cluster, locally, tmp_path, nodes
):
    """Without any node left it waits for one."""
    check, killed, notes = RayTeam._check_patience, [], []

    def kill_and_bring_back(self):
        check(self)
        if not killed and have_come_to_wait(tmp_path):
            killed.extend(list_workers(tmp_path)[:nodes])
            for worker in killed:
                cluster.kill_node(worker)
        if killed and not notes and self._lost >= nodes:
            notes.append(read_work_state().note)
            (tmp_path / "marks" / "go-on").touch()
            if nodes == 2:
                cluster.add_node()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RayTeam, "_check_patience", kill_and_bring_back)
        stage = on_cluster(STOPPED)
    cluster.add_node()
    assert read_files(stage.folder) == locally(STOPPED)
    assert begun(tmp_path) == len(STOPPED) + nodes
    assert stage.manifest["execution"]["workers_lost"] >= nodes
    assert re.match(rf"{2 - nodes} workers?, \d+ lost, {nodes} tried again", notes[0])


@pytest.mark.bad_input("cluster", "a shard that ends its worker each time", "refused by its item")
def test_poison_shard_ends_the_run_with_what_was_done_kept(on_cluster, tmp_path, monkeypatch):
    commit = Stage.commit_shard

    def let_die_after_two(self, *rest):
        commit(self, *rest)
        if len(list(self.folder.glob("*.parquet"))) == 2:
            (tmp_path / "marks" / "go-on").touch()

    monkeypatch.setattr(Stage, "commit_shard", let_die_after_two)
    with pytest.raises(UserError) as refused:
        on_cluster([*ITEMS[:2], "poison that waits"], tries=2)
    assert "'poison that waits'" in refused.value.where
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
def test_run_without_a_place_for_workers_ends_and_says_what_the_cluster_has(on_cluster):
    with pytest.raises(UserError) as refused:
        on_cluster(cpus={"cpu": 64}, patience=3)
    assert "64 CPUs" in refused.value.what
    assert "2 CPUs" in refused.value.what


@pytest.mark.bad_input("cluster", "no GPU for an engine", "refused, with what the cluster has")
def test_engine_for_a_gpu_is_refused_by_a_cluster_without_one(cluster, tmp_path):
    needs = WorkerNeeds("llm", device="cuda", gpus=2)
    with Run(tmp_path / "run") as run:
        run.use_workers(cluster.make_workers(run.folder, patience=1))
        stage = run.open_stage("words", {})
        with pytest.raises(UserError) as refused:
            stage.map_on_workers(DROPPED, ITEMS, partial(open_lengths, tmp_path), needs)
    assert "1 CPU and 2 GPUs" in refused.value.what
    assert "2 CPUs" in refused.value.what
    assert "execution.cpus" in refused.value.remedy


def copy_code(folder: Path) -> str:
    """Copy distill and the helpers, with one comment more; the path by which they are found."""
    for source in (Path(distill.__file__).parent, Path(__file__).parents[1] / "helpers"):
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "distill" / "errors.py").open("a") as file:
        file.write("# mended since\n")
    return str(folder)


@pytest.mark.bad_input("cluster", "a node with another checkout of the code", "refused, node named")
def test_node_with_other_code_is_refused(cluster, on_cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Ray has workers look for code in the driver's folder first
    cluster.add_node(PYTHONPATH=copy_code(tmp_path / "other"))
    try:
        with pytest.raises(UserError) as refused:
            on_cluster([f"waits {number}" for number in range(6)])
    finally:
        cluster.kill_node()
    assert refused.value.where.startswith("node ")
    assert "has other versions than the process that writes the run" in refused.value.what
    assert "distill's code" in refused.value.what
    assert "the same environment on every node" in refused.value.remedy


@pytest.mark.bad_input("cluster", "a shard that fails on each worker", "refused by its item")
def test_shard_that_always_fails_ends_the_run_with_the_last_error(on_cluster, tmp_path):
    with pytest.raises(UserError) as refused:
        on_cluster([*ITEMS[:2], "always fails"], tries=2)
    assert refused.value.where == "stage words, batch 2 ('always fails')"
    assert "failed 2 times" in refused.value.what
    assert refused.value.what.endswith("ValueError: this item cannot be done")
    assert (tmp_path / "marks" / "begun-always fails").read_text() == "xx"


def _live_as_command(address: str, folder: Path, marks: Path) -> None:
    """A driver as a command of distill. It waits for workers as long as they take, and has a
    patience of ten seconds once they have done something."""
    commit = Stage.commit_shard

    @cli.cli.command()
    def fill_by_hand() -> None:
        workers = RayWorkers(ClusterSettings(address), folder)

        def lose_patience(*rest) -> None:
            commit(*rest)
            workers.settings = ClusterSettings(address, patience=10.0)

        Stage.commit_shard = lose_patience
        with Run(folder) as run:
            run.use_workers(workers)
            fill(run, partial(open_lengths, marks), STOPPED)

    run_command("fill-by-hand")


@pytest.mark.bad_input("cluster", "all nodes are lost and none comes back", "refused after a while")
def test_run_whose_nodes_are_all_lost_for_good_ends_and_continues(
    cluster, on_cluster, locally, tmp_path
):
    run, marks = tmp_path / "run", tmp_path / "marks"
    marks.mkdir(exist_ok=True)
    driver = FreshProcess(tmp_path / "driver", _live_as_command, cluster.address, run, marks)
    wait_until(lambda: have_come_to_wait(tmp_path))
    for worker in list_workers(tmp_path):
        cluster.kill_node(worker)
    done = driver.wait()
    cluster.add_node()
    cluster.add_node()
    assert done.returncode == 2, done.stderr
    waited = re.search(r"had no worker for (\d+) s", done.stderr)
    assert waited
    assert int(waited[1]) >= 10
    assert "the same command continues" in done.stderr
    assert "Traceback" not in done.stderr
    (marks / "go-on").touch()
    assert read_files(on_cluster(STOPPED).folder) == locally(STOPPED)
    assert begun(tmp_path) == len(STOPPED) + 2


def _live(address: str, folder: Path, marks: Path, commits: int) -> None:
    """A driver that dies after some commits."""
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


def test_driver_that_is_killed_continues_and_leaves_no_worker(
    cluster, on_cluster, locally, tmp_path
):
    arguments = (cluster.address, tmp_path / "run", tmp_path / "marks", 3)
    driver = CONTEXT.Process(target=_live, args=arguments)
    driver.start()
    driver.join()
    assert driver.exitcode == -signal.SIGKILL
    stage = on_cluster()  # its two CPUs are free again, or nothing would be done
    assert read_files(stage.folder) == locally()
    assert begun(tmp_path) <= len(ITEMS) + 4


def test_node_that_is_lost_while_its_worker_opens_a_model_costs_no_shard(
    cluster, on_cluster, locally, tmp_path
):
    marks, check, killed = tmp_path / "marks", RayTeam._check_patience, []

    def kill_who_opens(self):
        check(self)
        if not killed and (opening := list(marks.glob("opening-*"))):
            killed.append(int(opening[0].name.removeprefix("opening-")))
            cluster.kill_node(killed[0])
        if self._lost:
            (marks / "go-on").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RayTeam, "_check_patience", kill_who_opens)
        stage = on_cluster(opens=partial(open_one_and_then_wait, marks))
    cluster.add_node()
    assert killed
    assert read_files(stage.folder) == locally()
    assert len(list(marks.glob("begun-*"))) == begun(tmp_path) == len(ITEMS)
    execution = stage.manifest["execution"]
    assert execution["workers_lost"] == 1
    assert execution["batches_tried_again"] == 0


def _live_until_stopped(address: str, folder: Path, marks: Path) -> None:
    """A driver that a person stops, as the command ends then."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest is in background
    with Run(folder) as run:
        run.use_workers(RayWorkers(ClusterSettings(address=address), folder))
        fill(run, partial(open_lengths, marks), STOPPED)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_commits_what_is_in_flight_and_a_second_one_does_not_wait(
    cluster, on_cluster, locally, tmp_path, times
):
    run, marks = tmp_path / "run", tmp_path / "marks"
    marks.mkdir(exist_ok=True)
    driver = FreshProcess(tmp_path / "driver", _live_until_stopped, cluster.address, run, marks)
    wait_until(lambda: have_come_to_wait(tmp_path))
    workers = list_workers(tmp_path)
    assert len(workers) == 2
    driver.send_signal(signal.SIGINT)
    wait_until(lambda: "finishing the rows in flight" in driver.read_errors())
    if times == 1:
        (marks / "go-on").touch()
    else:
        driver.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in driver.wait().stderr
    wait_until(lambda: not any(map(psutil.pid_exists, workers)))
    done = len(list((run / "words").glob("*.parquet")))
    assert done == begun(tmp_path) - (0 if times == 1 else 2)
    assert not list(run.rglob("*.part"))
    (marks / "go-on").touch()
    stage = on_cluster(STOPPED)
    assert read_files(stage.folder) == locally(STOPPED)
    assert begun(tmp_path) == len(STOPPED) + (0 if times == 1 else 2)
