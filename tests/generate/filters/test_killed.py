"""The filters of a run that is killed, on other workers and in another order: the same bytes."""

import multiprocessing
import os
import signal

import pytest
from helpers.filter_queries import BOTH, PASSAGES, make_many_queries
from helpers.query_rows import (
    filter_queries,
    make_filter_recipe,
    prepare_parsed,
    read_tables,
    refuse_llm,
)

from distill.llm.lazy import LazyLLM
from distill.store.run import Run
from distill.store.stage import Stage


@pytest.mark.parametrize("death", range(6))
def test_killed_between_insert_and_commit_equals_undisturbed(make, monkeypatch, death):
    settings = make_filter_recipe(generate={"filters": BOTH})
    whole = read_tables(make(make_many_queries(), settings, name="whole"))
    commit = Stage.commit_shard

    def deadly(self, path, *rest):
        if path.name == f"part-{death:05d}.parquet":
            raise KeyboardInterrupt
        commit(self, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "commit_shard", deadly)
        with pytest.raises(KeyboardInterrupt):
            make(make_many_queries(), settings, name="killed")
    stage = make(make_many_queries(), settings, name="killed")
    assert read_tables(stage) == whole
    assert not list(stage.metadata_dir.glob("*sqlite*"))


def _live(folder, deaths):
    """Kills its own process at the first commit of a shard that no life has died at yet."""
    write = Stage.commit_shard

    def deadly(self, path, *rest):
        if self.name == "queries" and not (deaths / path.name).exists():
            (deaths / path.name).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, path, *rest)

    Stage.commit_shard = deadly
    with Run(folder) as run:
        stages = prepare_parsed(run, [PASSAGES], make_many_queries())
        filter_queries(
            run,
            make_filter_recipe(generate={"filters": BOTH}),
            stages[0],
            stages[1:],
            LazyLLM(refuse_llm),
        )


@pytest.mark.slow
def test_kill_9_between_insert_and_commit_equals_undisturbed(make, tmp_path):
    whole = read_tables(
        make(make_many_queries(), make_filter_recipe(generate={"filters": BOTH}), name="whole")
    )
    (tmp_path / "deaths").mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distill.generate.filters"])
    codes = []
    while not codes or codes[-1]:
        process = context.Process(target=_live, args=(tmp_path / "cut", tmp_path / "deaths"))
        process.start()
        process.join()
        codes.append(process.exitcode)
        left = tmp_path / "cut" / "queries" / ".stage" / "seen.sqlite"
        assert left.exists() == bool(codes[-1])
    assert codes == [-signal.SIGKILL] * 6 + [0]
    with Run(tmp_path / "cut") as run:
        stages = prepare_parsed(run, [PASSAGES], make_many_queries())
        stage = filter_queries(
            run,
            make_filter_recipe(generate={"filters": BOTH}),
            stages[0],
            stages[1:],
            LazyLLM(refuse_llm),
        )
    assert read_tables(stage) == whole
