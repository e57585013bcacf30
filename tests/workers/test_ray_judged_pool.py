"""The pool of held-out queries, judged by the workers of a Ray cluster."""

import logging
from pathlib import Path

import pytest
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS
from helpers.written_files import read_files

from distill.evaluate.judged import judge
from distill.evaluate.judged.pool import PoolInputs, PoolSettings, make_judged_pool
from distill.llm.lazy import RecipeLLM
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PASSAGES

pytest.importorskip("mteb")
pytestmark = pytest.mark.slow
QUERIES = [(" ".join(text.split()[:9]), f"p{number}") for number, text in enumerate(TEXTS[:6])]


def make_inputs(run: Run) -> PoolInputs:
    """The passages that queries are written for are held out of as many others."""
    others = {f"o{number}": text for number, text in enumerate(TEXTS[6:12])}
    passages, queries, _ = prepare_candidates(run, others, QUERIES, [[]])
    held_out = run.open_stage("passages-held-out", {})
    rows = [
        {"passage_id": f"p{number}", "title": "", "text": text, "source": ""}
        for number, text in enumerate(TEXTS[:6])
    ]
    if not held_out.complete:
        held_out.map_shards(PASSAGES, [rows], ShardResult)
        held_out.finish()
    return PoolInputs(passages, held_out, queries)


def make_pool(folder: Path, llm_folder: Path, workers=None) -> Stage:
    """The pool of what BM25 finds."""
    llm = {"model": str(llm_folder), "dtype": "float32", "device": "cpu"}
    recipe = Recipe.model_validate({"name": "x", "llm": llm})
    with Run(folder) as run:
        inputs = make_inputs(run)
        if workers is not None:
            run.use_workers(workers(run.folder))
        engine = RecipeLLM(recipe.llm, run.folder / "requests.sqlite")
        settings, results = PoolSettings.select(recipe), run.folder / "results"
        made = make_judged_pool(run, settings, inputs, dict, engine, results)
        engine.close()
        return made


def refuse(*_):
    raise AssertionError("the process that writes the run opens the LLM")


def test_judged_pool_is_that_of_one_process_and_workers_alone_hold_the_llm(
    cluster, llm_folder, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(judge, "_PAIRS_AT_ONCE", 3)
    here = make_pool(tmp_path / "here", llm_folder)
    monkeypatch.setattr("distill.llm.load.load_llm", refuse)
    there = make_pool(tmp_path / "there", llm_folder, cluster.make_workers)
    assert here.manifest["rows"] > 12
    assert read_files(here.folder) == read_files(there.folder)
    assert there.manifest["execution"]["on"] == "ray"
    assert "execution" not in here.manifest


def test_judged_pool_whose_worker_was_killed_is_the_same(
    cluster, llm_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(judge, "_PAIRS_AT_ONCE", 3)
    here = make_pool(tmp_path / "here", llm_folder)
    keep, killed = judge.JudgementCache.keep, []
    workers = []

    def make_workers(folder: Path):
        workers.append(cluster.make_workers(folder))
        return workers[0]

    def keep_and_kill(cache, judged):
        keep(cache, judged)
        busy = [handle.identity.pid for handle in workers[0].handles if handle.batches]
        if busy and not killed:
            killed.append(busy[0])
            cluster.kill_node(busy[0])
            cluster.add_node()

    monkeypatch.setattr(judge.JudgementCache, "keep", keep_and_kill)
    there = make_pool(tmp_path / "there", llm_folder, make_workers)
    assert killed
    assert read_files(here.folder) == read_files(there.folder)
    assert there.manifest["execution"]["workers_lost"] >= 1
