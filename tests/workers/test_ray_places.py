"""Workers with and without GPUs on nodes that have GPUs and one CPU each: who goes when the other
kind needs the place."""

from collections.abc import Iterator

import pytest
from helpers.ray_work import SmallCluster, open_pids

from distill.store.run import Run
from distill.store.tables import DROPPED
from distill.workers.protocol import WorkerNeeds

pytestmark = pytest.mark.slow
CPU, GPU = WorkerNeeds(), WorkerNeeds("llm")


@pytest.fixture(scope="module")
def gpu_cluster() -> Iterator[SmallCluster]:
    """One node that pretends to have a GPU."""
    cluster = SmallCluster(nodes=0)
    cluster.add_node(gpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def processes(gpu_cluster, tmp_path):
    """Does a stage after the other. Gives the processes of each."""

    def do_stages(*stages: WorkerNeeds) -> list[set[str]]:
        found = []
        with Run(tmp_path / "run") as run:
            run.use_workers(gpu_cluster.make_workers(run.folder))
            for number, needs in enumerate(stages):
                stage = run.open_stage(f"stage-{number}", {})
                stage.map_on_workers(DROPPED, range(4), open_pids, needs)
                stage.finish()
                found.append({row["text"] for row in stage.read_rows(DROPPED)})
        return found

    return do_stages


def test_workers_with_and_without_gpus_make_room_for_one_another(processes):
    first, llm, second, again = processes(CPU, GPU, CPU, GPU)
    assert len(first | llm | second | again) == 4


def test_model_stays_on_its_gpu_where_others_have_half_of_their_places(gpu_cluster, processes):
    gpu_cluster.add_node()
    llm, _, again = processes(GPU, CPU, GPU)
    assert llm == again
