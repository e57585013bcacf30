"""Workers of a Ray cluster: the order in which they finish, the devices and threads that they
compute with, and what `distill doctor` says of them."""

from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from helpers.ray_work import can_mount, open_lengths, open_threads, wait_until
from helpers.written_files import read_files

from distill.errors import UserError
from distill.inspect.doctor import Check, check_cluster
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import DROPPED
from distill.workers.proof import write_proof_request
from distill.workers.protocol import WorkerNeeds

pytestmark = pytest.mark.slow
ENCODER = WorkerNeeds("encoder", device="cpu")
LATE = ["waits for the last", *(f"item {number}" for number in range(8)), "frees the first"]
"""The last one ends before the first."""


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.mark.parametrize("in_order", [False, True])
def test_shards_that_come_in_another_order_end_with_the_same_bytes(
    cluster, marks, tmp_path, in_order
):
    order: list[str] = []

    def settle(item, shard):
        order.append(item)
        return shard

    def fill(folder, on_cluster: bool) -> Stage:
        with Run(folder) as run:
            if on_cluster:
                run.use_workers(cluster.make_workers(run.folder))
            stage = run.open_stage("words", {})
            how = {"settle": settle} if in_order else {}
            stage.map_on_workers(DROPPED, LATE, partial(open_lengths, marks), WorkerNeeds(), **how)
            stage.finish()
        return stage

    there = fill(tmp_path / "there", on_cluster=True)
    assert order == (LATE if in_order else [])
    here = fill(tmp_path / "here", on_cluster=False)
    assert read_files(there.folder) == read_files(here.folder)


def let_go_on(marks: Path, workers: int) -> None:
    """Let items go on when so many workers have begun one: the one whose processor is another comes
    last."""
    wait_until(lambda: len(list(marks.glob("begun-waits*"))) == workers)
    (marks / "go-on").touch()


@pytest.mark.bad_input("cluster", "nodes with other processors", "refused, node and devices named")
def test_nodes_of_two_kinds_are_refused_unless_the_recipe_allows_them(cluster, marks, tmp_path):
    items = [f"waits {number}" for number in range(6)]

    def fill(folder, **settings) -> Stage:
        (marks / folder).mkdir()
        with Run(tmp_path / folder) as run:
            run.use_workers(cluster.make_workers(run.folder, **settings))
            stage = run.open_stage("words", {})
            stage.map_on_workers(DROPPED, items, partial(open_lengths, marks / folder), ENCODER)
            stage.finish()
        return stage

    cluster.add_node(ATEN_CPU_CAPABILITY="default")
    try:
        with pytest.raises(UserError) as refused:
            fill("refused")
        all_three = Thread(target=let_go_on, args=(marks / "mixed", 3))
        all_three.start()
        devices = fill("mixed", mixed_devices=True).manifest["execution"]["devices"]
        all_three.join()
    finally:
        cluster.kill_node()
    assert "stage words, node " in refused.value.where
    assert "CPU with DEFAULT" in refused.value.what
    assert "their last digits differ" in refused.value.what
    assert "execution.mixed_devices" in refused.value.remedy
    assert "CPU with DEFAULT" in devices


@pytest.mark.skipif(not can_mount(), reason="may not mount a folder for a node alone")
@pytest.mark.bad_input("cluster", "a node with another folder at the run's path", "refused, named")
def test_node_with_another_folder_in_the_place_of_the_runs_is_refused(cluster, marks, tmp_path):
    """It holds a run of its own there, which has had workers, too."""
    seen, on_node = tmp_path / "seen", tmp_path / "on the node"
    for folder in (seen, on_node):
        (folder / "run").mkdir(parents=True)
    write_proof_request(on_node / "run")
    items = [f"waits {number}" for number in range(6)]
    with cluster.add_node_without(seen, on_node), Run(seen / "run") as run:
        run.use_workers(cluster.make_workers(run.folder))
        stage = run.open_stage("words", {})
        with pytest.raises(UserError) as refused:
            stage.map_on_workers(DROPPED, items, partial(open_lengths, marks), WorkerNeeds())
    assert refused.value.where.startswith("node ")
    assert refused.value.what == f"does not see the run's folder {seen / 'run'}"
    assert "mount the same folder at the same path on every node" in refused.value.remedy
    assert not list((on_node / "run" / "words").glob("*"))


def test_models_compute_with_the_threads_that_the_recipe_gives_a_worker(cluster, tmp_path):
    """Also where the node's environment says another number (OMP_NUM_THREADS)."""
    cluster.add_node(cpus=2)
    try:
        with Run(tmp_path / "run") as run:
            run.use_workers(cluster.make_workers(run.folder, cpus={"encoder": 2}))
            stage = run.open_stage("words", {})
            stage.map_on_workers(DROPPED, ["item"], open_threads, ENCODER)
            stage.finish()
        assert [row["text"] for row in stage.read_rows(DROPPED)] == ["2"]
    finally:
        cluster.kill_node()


def test_doctor_shows_the_nodes_of_a_cluster(cluster):
    def look() -> Check:
        check = check_cluster(cluster.address)
        assert check.state == "ok"
        return check

    wait_until(lambda: " 2 CPUs and 0 GPUs: " in look().detail)  # a killed one counts for a while
    assert look().detail.count(" 1 CPUs") == 2
