"""Nodes without the run's folder read a copy of their own, which they fetch from its store: the run
ends with the bytes of one process."""

import os
import sqlite3
from pathlib import Path

import pytest
from helpers.ray_work import SmallCluster, can_mount
from helpers.text_folders import make_tables, make_text_recipe, write_text_folder
from helpers.written_files import read_files, read_tables

from distill.errors import UserError
from distill.object_store.mirror import open_mirror
from distill.pipeline.job import Job
from distill.recipe import load_recipe
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import DROPPED, Reader
from distill.workers import node_copy
from distill.workers.node_copy import CopySource, NodeCopy, fetch_if_copied, use_copy

STORE = "s3://bucket/runs/mine"


@pytest.fixture(autouse=True)
def _no_copy_after():
    yield
    use_copy(None)


def make_stage(folder: Path, name: str, items: int = 3, **settings) -> Stage:
    with Run(folder, "stale") as run, open_mirror(folder, STORE) as run.mirror:
        stage = run.open_stage(name, settings)
        rows = [{"item_id": f"{n}", "reason": "", "text": "words " * 50} for n in range(items)]
        stage.map_shards(DROPPED, rows, lambda row: ShardResult([row]))
        stage.finish()
    return stage


def open_copy(folder: Path, job: str = "job", most: int | None = None) -> NodeCopy:
    copy = NodeCopy(folder, CopySource(STORE, job, most), "node-1")
    use_copy(copy)
    return copy


def test_copy_has_what_was_read_and_nothing_else(server, tmp_path):
    first = make_stage(tmp_path / "run", "first")
    make_stage(tmp_path / "run", "second")
    node = tmp_path / "node"
    open_copy(node)
    rows = [*Reader(DROPPED, node / "first")]
    assert rows == first.read_rows(DROPPED)
    assert read_files(node / "first") == read_files(first.folder)
    assert not (node / "second").exists()


def test_copy_is_fetched_once_and_again_where_the_stage_is_another_one(server, tmp_path):
    make_stage(tmp_path / "run", "first")
    node = tmp_path / "node"
    for _ in range(2):
        open_copy(node)
        server.requests.clear()
        list_shards(node / "first")
        list_shards(node / "first")
        fetched = [path for method, path in server.requests if method == "GET" and "part" in path]
    assert fetched == []
    other = make_stage(tmp_path / "run", "first", items=2, other=True)
    open_copy(node)
    assert len(list_shards(node / "first")) == 2
    assert read_files(node / "first") == read_files(other.folder)


def test_sqlite_file_is_fetched_once_by_all_workers_of_a_node(server, tmp_path):
    with sqlite3.connect(tmp_path / "kept.sqlite") as kept:
        kept.execute("CREATE TABLE kept (row TEXT)")
    server.put("runs/mine/candidates/kept.sqlite", (tmp_path / "kept.sqlite").read_bytes())
    node, path = tmp_path / "node", tmp_path / "node" / "candidates" / "kept.sqlite"
    for _ in range(2):  # workers
        open_copy(node)
        server.requests.clear()
        fetch_if_copied(path)
        with sqlite3.connect(path) as copy:
            assert copy.execute("SELECT * FROM kept").fetchall() == []
    assert [key for method, key in server.requests if method == "GET" and "kept" in key] == []
    server.put("runs/mine/candidates/kept.sqlite", b"another one")
    open_copy(node)
    fetch_if_copied(path)
    assert path.read_bytes() == b"another one"


def test_paths_outside_the_run_are_left_alone(server, tmp_path):
    open_copy(tmp_path / "node")
    server.requests.clear()
    fetch_if_copied(tmp_path / "elsewhere")
    assert server.requests == []


@pytest.mark.bad_input("cluster", "a node with another folder at the run's path", "refused, named")
def test_folder_that_is_no_copy_is_refused(server, tmp_path):
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "mine.txt").write_text("not a copy")
    with pytest.raises(UserError, match=r"has a folder .* that is no copy of the run") as refused:
        open_copy(tmp_path / "node")
    assert refused.value.where == "node node-1"
    assert (tmp_path / "node" / "mine.txt").exists()


@pytest.mark.bad_input("cluster", "a copy larger than execution.copy_gib", "refused, both told")
def test_copy_makes_room_of_what_earlier_jobs_fetched_and_else_refuses(server, tmp_path):
    make_stage(tmp_path / "run", "first", items=20)
    make_stage(tmp_path / "run", "second", items=20)
    node = tmp_path / "node"
    open_copy(node, "earlier")
    list_shards(node / "first")
    size = node_copy._measure(node / "first")
    open_copy(node, "later", most=int(1.9 * size))
    list_shards(node / "second")
    assert not (node / "first").exists()
    with pytest.raises(UserError, match=r"raise execution\.copy_gib"):
        list_shards(node / "first")


def test_folder_that_is_fetched_makes_no_room_for_itself(server, tmp_path):
    """Of a later job: with nothing to fetch, then with a stage made again of which some is here."""
    first = make_stage(tmp_path / "run", "first", items=6)
    node = tmp_path / "node"
    open_copy(node, "earlier")
    shards = [path.name for path in list_shards(node / "first")]
    (node / "first" / ".stage" / "lookup").write_bytes(bytes(10_000))  # a worker's own
    open_copy(node, "later", most=9_000)
    assert [path.name for path in list_shards(node / "first")] == shards
    make_stage(tmp_path / "run", "first", items=8, longer=True)
    open_copy(node, "last", most=node_copy._measure(node) + 1_000)
    with pytest.raises(UserError, match=r"raise execution\.copy_gib"):
        list_shards(node / "first")
    open_copy(node, "last", most=100_000)
    list_shards(node / "first")
    assert read_files(node / "first") == read_files(first.folder)


def test_mark_of_a_killed_worker_removes_nothing(server, tmp_path):
    make_stage(tmp_path / "run", "first")
    make_stage(tmp_path / "run", "second", items=20)
    node = tmp_path / "node"
    open_copy(node, "earlier")
    list_shards(node / "first")
    (node / node_copy.FOLDER / "used" / "third").write_text("")
    open_copy(node, "later", most=node_copy._measure(node) + 1_000)
    with pytest.raises(UserError, match=r"raise execution\.copy_gib"):
        list_shards(node / "second")
    assert (node / node_copy.FOLDER).exists()


def test_round_reads_the_vectors_of_the_run(server, tmp_path):
    server.put("runs/mine/vectors/a/vectors.npy", b"of all rounds")
    node = tmp_path / "node"
    open_copy(node)
    fetch_if_copied(node / "round-1" / "vectors" / "a")
    assert (node / "round-1" / "vectors" / "a" / "vectors.npy").read_bytes() == b"of all rounds"
    assert (node / "vectors" / "a" / "vectors.npy").exists()


def test_run_that_is_written_where_a_node_had_its_copy_has_all_from_the_store(server, tmp_path):
    """The machine that wrote it is lost; a node that read some of it goes on."""
    first = make_stage(tmp_path / "run", "first")
    node = tmp_path / "node"
    open_copy(node)
    (path,) = [one for one in list_shards(first.folder) if one.stem == "part-00001"]
    node.joinpath("first").mkdir()
    node.joinpath("first", path.name).write_bytes(path.read_bytes())  # without its manifest
    use_copy(None)
    with pytest.raises(UserError, match="is a node's copy of a run"), open_mirror(node, None):
        pass
    with Run(node) as run, open_mirror(node, STORE) as run.mirror:
        stage = run.open_stage("first", {})
        assert stage.complete
        assert stage.read_rows(DROPPED) == first.read_rows(DROPPED)
    assert not (node / ".store" / "node-copy").exists()


@pytest.mark.bad_input("recipe", "execution.inputs copy without a store", "refused, with the key")
@pytest.mark.parametrize(
    "settings", [["execution=ray"], ["store=s3://bucket/mine"]], ids=["no store", "no cluster"]
)
def test_copies_without_a_store_or_a_cluster_are_refused(recipe_file, settings):
    where = [] if settings[0] == "execution=ray" else settings
    mode = ["execution={mode: ray, inputs: copy}"] if not where else ["execution={inputs: copy}"]
    with pytest.raises(UserError, match=r"set execution\.mode: ray and store"):
        load_recipe(recipe_file, [*where, *mode])


@pytest.fixture
def bare_cluster():
    if not can_mount():
        pytest.skip("needs the right to mount folders, to hide the run's from a node")
    cluster = SmallCluster(nodes=0)
    yield cluster
    cluster.shutdown()


def read_tables_of_rounds(run: Path) -> dict[str, bytes]:
    """The tables of a run, and of the runs of its rounds."""
    folders = [run, *run.glob("round-*")]
    tables = {folder.name: read_tables(folder) for folder in folders}
    return {f"{name}/{table}": data for name, of in tables.items() for table, data in of.items()}


SMALL = ("relabel.shard_size=3", "generate.shard_size=3", "generate.filters.round_trip=12")
ROUNDS = ("relabel.rounds=2", "relabel.rankers=[ql,retriever]", "train.epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "on_cluster"),
    [
        pytest.param((), (), id="whole"),
        pytest.param((), ("retriever.index_rows=4",), id="by parts"),
        pytest.param(ROUNDS, (), id="rounds"),
    ],
)
def test_recipe_on_a_node_without_the_folder_has_the_tables_of_one_process(
    server, bare_cluster, recipe_file, tmp_path, settings, on_cluster
):
    """All of its workers are on that node, which has nothing of the run at the start. Of several
    rounds it fetches the student of each as retriever for the next."""
    small = [*SMALL, *settings, "retriever.sources=[dense,bm25]"]
    recipe = load_recipe(recipe_file, small)
    with Run(tmp_path / "here" / "run") as run:
        Job(run, recipe).relabel()
    whole = read_tables_of_rounds(tmp_path / "here" / "run")

    seen, on_node = tmp_path / "seen", tmp_path / "on the node"
    seen.mkdir()
    on_node.mkdir()
    cluster = {"mode": "ray", "address": bare_cluster.address, "inputs": "copy"}
    recipe = load_recipe(
        recipe_file, [*small, *on_cluster, f"store={STORE}", f"execution={cluster}"]
    )
    with (
        bare_cluster.add_node_without(seen, on_node, **server.environment),
        Run(seen / "run") as run,
        open_mirror(run.folder, recipe.store) as run.mirror,
    ):
        Job(run, recipe).relabel()
    made = read_tables_of_rounds(seen / "run")
    assert [name for name in {**whole, **made} if whole.get(name) != made.get(name)] == []
    copied = {path.name for path in (on_node / "run").iterdir()}
    assert {"passages", "queries", "candidates", "vectors", "bm25"} <= copied
    assert ("round-1" in copied) == (settings == ROUNDS)
    assert "recipe.yaml" not in copied
    assert os.listdir(on_node) == ["run"]


@pytest.mark.slow
def test_folder_of_texts_is_read_on_a_node_that_has_neither_it_nor_the_run(
    server, bare_cluster, tmp_path
):
    seen, on_node = tmp_path / "seen", tmp_path / "on the node"
    on_node.mkdir()
    recipe = make_text_recipe(write_text_folder(seen / "texts"))
    whole = make_tables(tmp_path / "here", recipe)
    with bare_cluster.add_node_without(seen, on_node, **server.environment):
        workers = bare_cluster.make_workers(seen / "run", copies=CopySource(STORE, "job", None))
        assert make_tables(seen / "run", recipe, workers) == whole
