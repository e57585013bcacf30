"""A whole recipe whose run is kept in an object store, too."""

import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from helpers.fresh_process import FreshProcess, run_distill
from helpers.ray_work import PATIENCE, wait_until

from distill.api.before import check_first
from distill.errors import UserError
from distill.recipe import load_recipe

pytestmark = pytest.mark.slow


def _live(recipe_file: Path, folder: Path, store: str | None, waits: bool = False) -> None:
    """Train the student; `waits`: with the second shard of judgements, or the first checkpoint, on
    the disk the job stands still, and its uploads go on."""
    import torch

    from distill.api.session import open_job
    from distill.object_store import lease, mirror
    from distill.recipe import load_recipe
    from distill.store.stage import Stage
    from distill.train.loop import callbacks
    from distill.train.loop import checkpoint as checkpoint_module

    commit = Stage.commit_shard

    def mark_and_wait(checkpoint: Path) -> None:
        checkpoint_module.mark_complete(checkpoint)
        time.sleep(PATIENCE)

    def commit_and_wait(stage: Stage, path: Path, *rest: object) -> None:
        commit(stage, path, *rest)
        if (stage.name, path.stem) == ("judgements-ql", "part-00001"):
            time.sleep(PATIENCE)

    if waits:
        callbacks.mark_complete = mark_and_wait
        Stage.commit_shard = commit_and_wait
    torch.set_num_threads(1)
    lease.TAKEN_OVER_AFTER, lease.RENEWED_EVERY, mirror.SNAPSHOT_EVERY = 2.0, 0.5, 0.2
    sets = ["train.epochs=6", *([] if store is None else [f"store={store}"])]
    with open_job(load_recipe(recipe_file, sets), folder, "never") as job:
        job.train_student()


def _results(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("*/*.parquet"), *folder.glob("vectors/*/vectors.npy")]
    paths += folder.glob("*/*.safetensors")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def test_machine_that_is_lost_costs_nothing_that_was_paid_for(server, recipe_file, tmp_path):
    """The job is killed while it judges, and again while it trains, and its folder goes with the
    machine: another one takes the lease over, and in the end there is what a run that was not
    disturbed has."""
    folder, store = tmp_path / "run", "s3://bucket/runs/tiny"

    def lose_machine(when: str) -> dict[str, bytes]:
        """Kill the job as soon as the store has an object of such a name; what the store has."""
        job = FreshProcess(tmp_path / "lost", _live, recipe_file, folder, store, True)

        def has_come() -> bool:
            assert job.is_alive(), job.read_errors()
            return any(re.fullmatch(when, name) for name in server.list_names("runs/tiny"))

        wait_until(has_come)
        job.send_signal(signal.SIGKILL)
        job.wait()
        shutil.rmtree(folder)
        return server.read_objects("runs/tiny")

    judging = lose_machine("judgements-ql/part-00001.parquet")
    assert "examples/.stage/manifest.json" not in judging
    training = lose_machine("student/.stage/training/.*/checkpoint-.*/complete")
    assert json.loads(training["student/.stage/manifest.json"])["complete"] is False
    ended = FreshProcess(tmp_path / "ended", _live, recipe_file, folder, store).wait()
    assert ended.returncode == 0, ended.stderr
    shards = [re.fullmatch(r"(generations|judgements-\w+)/(part-\d+)\.parquet", n) for n in judging]
    paid = [f"{one[1]}/.stage/{one[2]}.json" for one in shards if one]
    assert "judgements-ql/.stage/part-00001.json" in paid
    # The figures, which hold how long each shard took, are those of the first machine.
    assert {name: (folder / name).read_bytes() for name in paid} == {n: judging[n] for n in paid}

    whole = FreshProcess(
        tmp_path / "whole", _live, recipe_file, tmp_path / "undisturbed", None
    ).wait()
    assert whole.returncode == 0, whole.stderr
    results = _results(folder)
    assert results == _results(tmp_path / "undisturbed")
    at_end = server.read_objects("runs/tiny")
    assert {name: at_end.get(name) for name in results} == results
    assert not [name for name in at_end if "/training/" in name]


@pytest.mark.bad_input("object store", "the same on the command line", "exit code 2, no secret")
def test_command_line_says_what_is_wrong_and_no_secret(server, recipe_file, tmp_path):
    def corpus(store: str):
        words = ["corpus", str(recipe_file), "--run", str(tmp_path / "run"), "-v"]
        return run_distill(*words, "--set", f"store={store}", **server.environment)

    refused = corpus("s3://nowhere/mine")
    assert refused.returncode == 2
    assert "does not exist" in refused.stderr
    assert "remedy: check the bucket's name" in refused.stderr
    done = corpus("s3://bucket/mine")
    assert done.returncode == 0, done.stderr
    said = [refused.stderr, refused.stdout, done.stderr, done.stdout]
    written = [p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()]
    written += [*server.read_objects("mine").values(), *(one.encode() for one in said)]
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        assert not [one for one in written if server.environment[name].encode() in one]
    assert "log.jsonl" in server.read_objects("mine")


def test_run_that_another_machine_has_begun_was_checked_then(server, recipe_file, tmp_path):
    """To end it, a server that wrote its queries need not be there any more."""
    gone = ["llm={engine: http, model: m, base_url: 'http://127.0.0.1:9/v1'}"]
    recipe = load_recipe(recipe_file, [*gone, "store=s3://bucket/begun"])
    with pytest.raises(UserError, match="127"):
        check_first(recipe, tmp_path / "run")
    server.put("begun/generations/.stage/manifest.json", b"{}")
    check_first(recipe, tmp_path / "run")
