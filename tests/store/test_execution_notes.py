"""Who computed a stage or vectors is noted with the first result: whoever continues knows it."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from helpers.in_memory import make_in_memory_encoder

from distill.embed.vectors import vector_store
from distill.errors import UserError
from distill.files.atomic import read_json
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import DROPPED
from distill.workers.local import LOCAL
from distill.workers.protocol import OpenWork, WorkerNeeds

ITEMS = ["a", "b", "c"]


class OnDevice:
    """Workers in this process that say they compute on some device."""

    local = hold_models = reads_only = False

    def __init__(self, device: str, mixed_devices: bool = False) -> None:
        self.device = device
        self.mixed_devices = mixed_devices

    @contextmanager
    def begin(self, job):
        with LOCAL.begin(job) as team:
            describe = {"on": "others", "devices": [self.device], "workers": 1, "workers_lost": 2}
            team.describe = lambda: describe
            yield team

    def close(self) -> None:
        """Do nothing."""


class Killed(BaseException):
    """Ends a process without a chance to write anything."""


def open_work():
    return nullcontext(OpenWork(lambda batch: [ShardResult([_row(item)]) for item in batch]))


def _row(item: str) -> dict[str, str]:
    return {"item_id": item, "reason": "none", "text": item}


def fill(run: Run, workers: OnDevice) -> Stage:
    run.use_workers(workers)
    stage = run.open_stage("words", {})
    stage.map_on_workers(DROPPED, ITEMS, open_work, WorkerNeeds("llm"))
    stage.finish()
    return stage


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The folder of a run whose process was killed behind the first shard, on an H100."""
    commit = Stage.commit_shard

    def commit_and_die(*arguments) -> None:
        commit(*arguments)
        raise Killed

    with monkeypatch.context() as patch, Run(tmp_path / "run") as run:
        patch.setattr(Stage, "commit_shard", commit_and_die)
        with pytest.raises(Killed):
            fill(run, OnDevice("H100"))
    return tmp_path / "run"


@pytest.mark.bad_input(
    "cluster", "a stage that was begun on one kind of GPU and goes on on another", "refused, named"
)
def test_stage_that_goes_on_on_another_device_is_refused(begun):
    with Run(begun) as run, pytest.raises(UserError) as refused:
        fill(run, OnDevice("A100"))
    assert refused.value.where == "stage words"
    assert "was begun on H100, and goes on on A100" in refused.value.what
    assert "execution.mixed_devices" in refused.value.remedy
    assert f"move {begun / 'words'} elsewhere to" in refused.value.remedy
    assert len(list((begun / "words").glob("*.parquet"))) == 1


def test_stage_that_goes_on_on_its_device_is_made(begun):
    with Run(begun) as run:
        execution = fill(run, OnDevice("H100")).manifest["execution"]
    assert execution == {"on": "others", "devices": ["H100"], "workers": 1, "workers_lost": 2}


def test_mixed_devices_are_noted_where_they_are_allowed(begun):
    with Run(begun) as run:
        execution = fill(run, OnDevice("A100", mixed_devices=True)).manifest["execution"]
    assert execution["devices"] == ["A100", "H100"]


def embed(folder, encoder, workers):
    texts = ["one", "two", "three"]
    of = (encoder, "document", ITEMS, texts, "embed texts")
    return vector_store.embed(folder, *of, workers=workers)


def test_vectors_that_go_on_on_another_device_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_store, "CHUNK", 1)
    record, encoder = vector_store.record_chunk, make_in_memory_encoder()

    def record_and_die(*arguments) -> None:
        record(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(vector_store, "record_chunk", record_and_die)
        with pytest.raises(Killed):
            embed(tmp_path, encoder, OnDevice("H100"))
    with pytest.raises(UserError, match="begun on H100, and goes on on A100"):
        embed(tmp_path, encoder, OnDevice("A100"))
    store = embed(tmp_path, encoder, OnDevice("H100"))
    assert read_json(store.folder / "execution.json")["execution"]["workers"] == 1
    assert np.isfinite(store.vectors).all()
