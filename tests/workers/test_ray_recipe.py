"""A recipe on a Ray cluster of two nodes ends with the bytes of this process: nodes are killed in
its stages, a person stops it, and what was paid for before is not asked or judged again."""

import os
import random
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_server import MODEL, Body, make_completion, read_prompt, serve
from helpers.fresh_process import FreshProcess, run_command
from helpers.ray_work import SmallCluster
from helpers.tiny_models import TEXTS
from helpers.written_files import read_tables

from distill.embed import open_embedder
from distill.embed.vectors import vector_store
from distill.pipeline.job import Job
from distill.recipe import Recipe, load_recipe, override
from distill.retrieve.dense import by_parts, search_cache
from distill.store.run import Run
from distill.store.stage import Stage, open_stage

pytestmark = pytest.mark.slow
SMALL = ["relabel.shard_size=3", "generate.shard_size=3"]
FILTERS = ["generate.filters.round_trip=12", "generate.filters.near_duplicates=0.8"]
ON_WORKERS = ("generations", "parsed", "queries", "candidates", "labels", "examples")


class Reaper:
    """Kills the node of a worker that is at work, once in each of some stages, after that stage's
    first commit."""

    def __init__(self, cluster: SmallCluster, run: Run, stages: list[str], patch) -> None:
        self.cluster, self.run = cluster, run
        self.left = list(stages)
        commit, record, write = Stage.commit_shard, vector_store.record_chunk, by_parts.write_arrays

        def commit_and_kill(stage, *rest):
            commit(stage, *rest)
            self.kill_in(stage.name)

        def record_and_kill(*rest):
            record(*rest)
            self.kill_in("vectors")

        def write_and_kill(path, value):
            write(path, value)
            self.kill_in(f"{path.parents[3].name}: {path.name.partition('-')[0]}")

        patch.setattr(by_parts, "write_arrays", write_and_kill)
        patch.setattr(Stage, "commit_shard", commit_and_kill)
        patch.setattr(vector_store, "record_chunk", record_and_kill)

    def kill_in(self, stage: str) -> None:
        busy = [handle.identity.pid for handle in self.run.workers.handles if handle.batches]
        if stage in self.left and busy:
            self.left.remove(stage)
            self.cluster.kill_node(busy[0])
            self.cluster.add_node()


def put_on(cluster: SmallCluster, recipe: Recipe) -> Recipe:
    return override(recipe, {"execution": {"mode": "ray", "address": cluster.address}})


def relabel(folder: Path, recipe: Recipe) -> dict[str, bytes]:
    with Run(folder, "stale") as run:
        Job(run, recipe).relabel()
    return read_tables(folder)


def relabel_and_kill(
    cluster: SmallCluster, folder: Path, recipe: Recipe, stages: list[str]
) -> dict[str, bytes]:
    """On the cluster, with a node killed in each of these stages."""
    with pytest.MonkeyPatch.context() as patch, Run(folder, "stale") as run:
        reaper = Reaper(cluster, run, stages, patch)
        Job(run, put_on(cluster, recipe)).relabel()
    assert reaper.left == []
    return read_tables(folder)


def list_differences(whole: dict[str, bytes], made: dict[str, bytes]) -> list[str]:
    return [name for name in {**whole, **made} if whole.get(name) != made.get(name)]


def test_node_killed_while_vectors_are_made(cluster, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_store, "CHUNK", 4)
    retriever = load_recipe(recipe_file).retriever
    encoder = open_embedder.open_embedder(retriever, retriever.model)
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    of = (encoder, "document", [f"t{number}" for number in range(len(texts))], texts, "embed texts")
    here = vector_store.embed(tmp_path / "here", *of)
    with Run(tmp_path / "ray") as run:
        run.use_workers(cluster.make_workers(run.folder))
        reaper = Reaper(cluster, run, ["vectors"], monkeypatch)
        there = vector_store.embed(run.folder / "vectors", *of, workers=run.workers)
    assert reaper.left == []
    assert np.array_equal(here.vectors, there.vectors)


def test_nodes_killed_while_queries_candidates_and_judgements_are_made(
    cluster, recipe_file, tmp_path
):
    # In shards of one, so that there is work left for the worker that was lost.
    smallest = ["relabel.shard_size=1", "generate.shard_size=1"]
    recipe = load_recipe(recipe_file, [*smallest, *FILTERS])
    whole = relabel(tmp_path / "here", recipe)
    stages = ["generations", "candidates", "judgements-ql"]
    made = relabel_and_kill(cluster, tmp_path / "ray", recipe, stages)
    assert list_differences(whole, made) == []
    for name in ON_WORKERS:
        execution = open_stage(tmp_path / "ray" / name).manifest["execution"]
        assert execution["on"] == "ray"
        assert execution["workers_lost"] >= (name in stages)


def test_another_llm_judges_and_all_sources_search_on_the_cluster_as_here(
    cluster, recipe_file, llm_folder, tmp_path
):
    judge = {"model": str(llm_folder), "dtype": "float32", "device": "cpu"}
    more = {"relabel.llm": judge, "generate.filters.round_trip_by": "retriever"}
    recipe = override(load_recipe(recipe_file, [*SMALL, *FILTERS, IN_PARTS[1]]), more)
    here = relabel(tmp_path / "here", recipe)
    there = relabel(tmp_path / "ray", put_on(cluster, recipe))
    assert list_differences(here, there) == []
    judgements = open_stage(tmp_path / "ray" / "judgements-ql").manifest
    assert judgements["execution"]["on"] == "ray"
    written = open_stage(tmp_path / "ray" / "generations").manifest
    assert judgements["settings"]["llm"] != written["settings"]["llm"]


def refuse(*_):
    raise AssertionError("the process that writes the run opens the encoder")


IN_PARTS = ["retriever.index_rows=4", "retriever.sources=[dense,bm25]"]


def test_nodes_killed_while_a_corpus_is_searched_part_by_part(
    cluster, recipe_file, tmp_path, monkeypatch
):
    """In small groups of queries; in this process the corpus is searched as a whole."""
    recipe = load_recipe(recipe_file, [*SMALL, *FILTERS, IN_PARTS[1]])
    whole = relabel(tmp_path / "here", recipe)
    monkeypatch.setattr("distill.generate.filters.stage._choose_together", lambda *_: 2)
    monkeypatch.setattr("distill.relabel.candidates._choose_together", lambda *_: 2)
    recipe = load_recipe(recipe_file, [*SMALL, *FILTERS, *IN_PARTS])
    killed = ["queries: queries", "queries: best", "candidates: best"]
    made = relabel_and_kill(cluster, tmp_path / "ray", recipe, killed)
    assert list_differences(whole, made) == []
    for name in ("queries", "candidates"):
        manifest = open_stage(tmp_path / "ray" / name).manifest
        assert manifest["execution"]["workers_lost"] >= 1
        assert not (tmp_path / "ray" / name / ".stage" / "search").exists()


@pytest.mark.parametrize("parts", [[], IN_PARTS[:1]], ids=["whole", "by parts"])
def test_queries_that_the_round_trip_searched_on_workers_are_not_searched_again(
    cluster, recipe_file, tmp_path, monkeypatch, parts
):
    monkeypatch.setattr(search_cache, "_MIN_PASSAGES", 3)
    written, copies = [], set()
    write, commit = by_parts.write_arrays, Stage.commit_shard

    def note_written(path, value):
        written.append(f"{path.parents[3].name}: {path.name.partition('-')[0]}")
        write(path, value)

    def note_copies(stage, *rest):
        copies.update(path.parents[1].name for path in stage.folder.glob(".stage/searched-*"))
        commit(stage, *rest)

    monkeypatch.setattr(by_parts, "write_arrays", note_written)
    monkeypatch.setattr(Stage, "commit_shard", note_copies)
    recipe = load_recipe(recipe_file, [*SMALL, *FILTERS, *parts])
    whole = relabel(tmp_path / "here", load_recipe(recipe_file, [*SMALL, *FILTERS]))
    written.clear()
    monkeypatch.setattr(open_embedder, "load_encoder", refuse)  # workers alone hold the model
    made = relabel(tmp_path / "ray", put_on(cluster, recipe))
    assert list_differences(whole, made) == []
    assert "candidates" in copies
    assert not list((tmp_path / "ray" / "candidates" / ".stage").glob("searched-*"))
    with sqlite3.connect(tmp_path / "ray" / "searches.sqlite") as searches:
        kept = searches.execute("SELECT count(*) FROM searches").fetchone()[0]
    assert kept >= open_stage(tmp_path / "ray" / "queries").manifest["rows"]
    if parts:
        assert {"queries: best", "candidates: queries"} <= {*written}
        assert "candidates: best" not in written


def test_judged_pairs_are_not_judged_again_by_workers(cluster, recipe_file, tmp_path):
    """Lists of two candidates were judged in this process; then they become lists of four."""
    recipe = load_recipe(recipe_file, [*SMALL, "relabel.top_k=2"])
    relabel(tmp_path / "here", recipe)
    shutil.copytree(tmp_path / "here", tmp_path / "ray")
    longer = override(recipe, {"relabel.top_k": 4})
    whole = relabel(tmp_path / "here", longer)
    made = relabel_and_kill(cluster, tmp_path / "ray", longer, ["judgements-ql"])
    assert list_differences(whole, made) == []
    here, there = (open_stage(tmp_path / on / "judgements-ql").manifest for on in ("here", "ray"))
    assert 0 < there["counts"]["judged before"] < there["counts"]["pairs"]
    assert here["counts"] == there["counts"]


def write_queries(path: str, body: Body) -> Body:
    """A server's queries, of the words of the prompt."""
    prompt = read_prompt(body)
    draw = random.Random(f"{prompt}{body.get('seed')}")
    words = re.findall(r"\w+", prompt)[-16:]
    texts = [
        f" Find it.\nQuery: {' '.join(draw.sample(words, 6))}" for _ in range(body.get("n", 1))
    ]
    return make_completion(path, texts)


def test_replies_that_a_server_has_given_are_not_asked_for_again(cluster, recipe_file, tmp_path):
    """Half of the replies are there; the process that writes asks for the others, while workers
    embed, search and choose."""
    with serve(write_queries) as server:
        llm = {"engine": "http", "model": MODEL, "base_url": server.url}
        recipe = load_recipe(recipe_file, [*SMALL, "relabel.rankers=[retriever]"])
        recipe = override(recipe, {"llm": llm})
        whole = relabel(tmp_path / "here", recipe)
        requests = tmp_path / "ray" / "requests.sqlite"
        requests.parent.mkdir()
        shutil.copy(tmp_path / "here" / "requests.sqlite", requests)
        with sqlite3.connect(requests) as replies:
            kept = replies.execute("SELECT count(*) FROM replies").fetchone()[0]
            lost = replies.execute("DELETE FROM replies WHERE rowid % 2").rowcount
        at_start = len(server.seen) - kept  # how the server wants to be asked
        server.seen.clear()
        made = relabel(tmp_path / "ray", put_on(cluster, recipe))
    assert len(server.seen) == lost + at_start
    assert lost >= 10
    assert at_start <= 3
    assert list_differences(whole, made) == []
    assert "execution" not in open_stage(tmp_path / "ray" / "generations").manifest
    assert open_stage(tmp_path / "ray" / "candidates").manifest["execution"]["on"] == "ray"


def test_workers_are_gone_with_their_models_when_this_process_trains(
    cluster, recipe_file, tmp_path, monkeypatch
):
    """They may have the GPU that it trains on; some have just embedded with the teacher."""
    runs, left = [], []

    def fit(*_):
        left.append(len(runs[0].workers.handles))
        raise KeyboardInterrupt

    def run_until_training():
        with Run(tmp_path / "ray") as run:
            runs.append(run)
            settings = ["relabel.rankers=[retriever]", "train.objective={align: 1.0}"]
            Job(run, put_on(cluster, load_recipe(recipe_file, settings))).train_student()

    monkeypatch.setattr("distill.train.training_stage.fit", fit)
    with pytest.raises(KeyboardInterrupt):
        run_until_training()
    assert open_stage(tmp_path / "ray" / "generations").manifest["execution"]["on"] == "ray"
    assert left == [0]


def _run_as_a_person_does(stopped: bool, *words: str) -> None:
    """`stopped`: with Ctrl-C when the first judgements are there."""
    commit = Stage.commit_shard

    def commit_and_stop(stage, *rest) -> None:
        commit(stage, *rest)
        if stage.name == "judgements-ql":
            Stage.commit_shard = commit
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest is in background
    if stopped:
        Stage.commit_shard = commit_and_stop
    run_command("run", *words)


def test_whole_recipe_that_is_stopped_on_a_cluster_continues_to_the_bytes_of_this_process(
    cluster, whole_run, recipe_file, tmp_path
):
    run = tmp_path / "ray"
    settings = ["execution.mode=ray", f"execution.address={cluster.address}"]
    words = [str(recipe_file), "--run", str(run)]
    words += [word for setting in settings for word in ("--set", setting)]
    done = FreshProcess(tmp_path / "driver", _run_as_a_person_does, True, *words).wait()
    assert done.returncode == 130
    assert "the same command continues" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(run.rglob("*.part"))
    assert not (run / "examples").exists()
    again = FreshProcess(tmp_path / "again", _run_as_a_person_does, False, *words).wait()
    assert again.returncode == 0, again.stderr
    assert list_differences(read_tables(whole_run), read_tables(run)) == []
    model = Path("student") / "model.safetensors"
    assert (whole_run / model).read_bytes() == (run / model).read_bytes()
