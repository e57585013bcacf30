"""A run's folder: fingerprints, resume, refusal, the lock."""

import multiprocessing
import time
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers.ray_work import PATIENCE
from helpers.stage_work import ITEMS, fill_stage, make_shard, read_content

from distill.errors import UserError
from distill.files.atomic import read_json
from distill.store.local_name import name_model
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import DROPPED, read_rows
from distill.workers.protocol import OpenWork, WorkerNeeds


def test_seconds_of_a_stage_are_those_of_its_preparation_too(tmp_path):
    with Run(tmp_path / "run") as run:
        begun = time.monotonic()
        stage, content = run.open_prepared("words", {}, [], lambda: time.sleep(0.2) or ITEMS)
        stage.map_shards(DROPPED, content, make_shard)
        stage.finish()
        assert 0.2 <= stage.manifest["seconds"] <= time.monotonic() - begun + 0.1  # rounded
        assert run.open_prepared("words", {}, [], lambda: ITEMS)[1] is None


def test_stage_that_was_stopped_ends_with_the_same_bytes(tmp_path):
    done = []

    def stops(item: str) -> ShardResult:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(item)
        return make_shard(item)

    with pytest.raises(KeyboardInterrupt):
        fill_stage(tmp_path / "cut", {}, work=stops)
    fill_stage(tmp_path / "cut", {}, work=lambda item: (done.append(item), make_shard(item))[1])
    whole = fill_stage(tmp_path / "whole", {})
    assert done == ITEMS
    assert read_content(tmp_path / "cut" / "words") == read_content(whole.folder)
    assert read_json(tmp_path / "cut/words/.stage/manifest.json")["counts"] == {"kept": 3}


def narrow_names(folder: Path) -> None:
    """Rename a stage's shards as if names had one digit: beyond nine they do not sort as text."""
    for path in [*folder.glob("*.parquet"), *folder.glob(".stage/*part-*")]:
        before, _, number = path.stem.rpartition("-")
        path.rename(path.with_name(f"{before}-{int(number)}{path.suffix}"))


def test_shards_beyond_the_width_of_their_names_go_on_in_order(tmp_path):
    items, done = [f"word {n}" for n in range(25)], []

    def work(item: str) -> ShardResult:
        done.append(item)
        return make_shard(item)

    for _ in range(2):
        with Run(tmp_path) as run:
            stage = run.open_stage("words", {})
            stage.map_shards(DROPPED, items, work)
            stage.finish()
        narrow_names(stage.folder)
        (stage.folder / "part-11.parquet").unlink()
    assert done == [*items, items[11]]
    with Run(tmp_path) as run:
        stage = run.open_stage("words", {})
        stage.map_shards(DROPPED, items, work)
        stage.finish()
    assert [row["item_id"] for row in stage.read_rows(DROPPED)] == items
    assert stage.manifest["rows"] == 25


def test_stage_of_very_many_shards_names_the_key_to_raise(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("distill.store.stage._MANY_SHARDS", 2)
    with Run(tmp_path) as run:
        stage = run.open_stage("words", {})
        stage.map_shards(DROPPED, ITEMS, make_shard, key="generate.shard_size")
    assert [r.getMessage() for r in caplog.records if "generate.shard_size" in r.getMessage()]


def test_shards_made_in_batches_equal_those_made_one_by_one(tmp_path):
    calls = []

    def work(some: Sequence[str]) -> list[ShardResult]:
        calls.append([*some])
        return [make_shard(item) for item in some]

    def opens():
        return nullcontext(OpenWork(work))

    with Run(tmp_path / "together") as run:
        stage = run.open_stage("words", {})
        stage.map_on_workers(DROPPED, ITEMS, opens, WorkerNeeds(), together=2)
        (stage.folder / "part-00001.parquet").unlink()
        stage.map_on_workers(DROPPED, ITEMS, opens, WorkerNeeds(), together=2)
        stage.finish()
    assert calls == [["one", "two"], ["three"], ["two"]]
    whole = fill_stage(tmp_path / "whole", {})
    assert read_content(stage.folder) == read_content(whole.folder)
    assert stage.manifest["counts"] == whole.manifest["counts"]


def test_manifest_holds_settings_versions_rows_and_seconds(tmp_path):
    manifest = fill_stage(tmp_path, {"size": 3}).manifest
    assert manifest["settings"] == {"size": 3}
    assert manifest["rows"] == 3
    assert manifest["complete"]
    assert manifest["seconds"] >= 0
    assert {"python", "torch", "distill"} <= manifest["versions"].keys()


@pytest.mark.bad_input(
    "run", "other settings than the run was made with", "refused, the keys named"
)
def test_stage_with_other_settings_is_refused_and_they_are_named(tmp_path):
    before = fill_stage(tmp_path, {"size": 3, "seed": 1})
    kept = read_content(before.folder)
    with pytest.raises(UserError, match=r"changed: size: 3 -> 4(.|\n)*--overwrite stale"):
        fill_stage(tmp_path, {"size": 4, "seed": 1})
    assert read_content(before.folder) == kept


def test_superseded_stage_is_kept_and_comes_back(tmp_path):
    calls = []

    def counted(item: str) -> ShardResult:
        calls.append(item)
        return make_shard(item)

    fill_stage(tmp_path, {"size": 3}, work=counted)
    fill_stage(tmp_path, {"size": 4}, "stale", work=counted)
    assert len(calls) == 6
    back = fill_stage(tmp_path, {"size": 3}, "stale", work=counted)
    assert len(calls) == 6
    assert back.manifest["settings"] == {"size": 3}


def test_overwrite_always_makes_complete_stages_again(tmp_path):
    calls = []
    for _ in range(2):
        fill_stage(
            tmp_path, {}, "always", work=lambda item: (calls.append(item), make_shard(item))[1]
        )
    assert len(calls) == 6


@pytest.mark.bad_input("run", "a folder that is no stage in the way", "refused, not written over")
def test_folder_that_is_no_stage_is_not_written_over(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="other settings or inputs"):
        fill_stage(tmp_path, {})
    assert (tmp_path / "words" / "mine.txt").read_text() == "keep me"


def _hold(folder: Path, held, release) -> None:
    with Run(folder):
        held.set()
        release.wait(PATIENCE)


@pytest.mark.bad_input("run", "a second process in the same run", "refused")
def test_second_writer_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    try:
        assert held.wait(PATIENCE)
        with pytest.raises(UserError, match="another process"), Run(tmp_path):
            pass
    finally:
        release.set()
        process.join()
    with Run(tmp_path):
        pass


def test_table_opens_with_datasets_and_nothing_of_ours(tmp_path):
    import datasets

    stage = fill_stage(tmp_path, {})
    opened = datasets.load_dataset(
        "parquet", data_dir=str(stage.folder), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened.to_list() == list(read_rows(DROPPED, stage.folder))


class Heavy:
    def __init__(self, name: str) -> None:
        self.name = name


class Made(Sequence):
    """Items that exist from when they are asked for until nobody holds them."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Heavy] = weakref.WeakSet()

    def __len__(self) -> int:
        return 10

    def __getitem__(self, number: int) -> Heavy:
        if not 0 <= number < len(self):
            raise IndexError(number)
        item = Heavy(str(number))
        self.alive.add(item)
        return item


def test_no_more_than_one_item_and_the_next_are_held(tmp_path):
    items, most = Made(), 0

    def work(item: Heavy) -> ShardResult:
        nonlocal most
        most = max(most, len(items.alive))
        return make_shard(item.name)

    with Run(tmp_path) as run:
        run.open_stage("words", {}).map_shards(DROPPED, items, work)
    assert most <= 2


def test_local_model_is_known_by_its_content_and_runs_of_before_by_its_path(tmp_path):
    def settings(path: str) -> dict:
        return {"model": name_model(path), "revision": "abc", "also": [{"m": name_model(path)}]}

    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    first = fill_stage(tmp_path / "run", settings(str(tmp_path / "model")))
    moved = fill_stage(tmp_path / "run", settings(str(tmp_path / "elsewhere")))
    assert moved.fingerprint == first.fingerprint
    path = str(tmp_path / "model")
    before = fill_stage(tmp_path / "old", {"model": path, "revision": "abc", "also": [{"m": path}]})
    assert fill_stage(tmp_path / "old", settings(path)).fingerprint == before.fingerprint
    assert name_model("owner/model") == "owner/model"


@pytest.mark.bad_input("paths", "a file where a run's folder is expected", "named, exit code 2")
def test_file_in_the_place_of_a_run_is_named(tmp_path):
    (tmp_path / "run").write_text("notes")
    with pytest.raises(UserError, match=r"in the way|a folder is expected"), Run(tmp_path / "run"):
        pass


@pytest.mark.bad_input("paths", "a run's name of 300 letters", "named, exit code 2")
def test_name_too_long_for_the_disk_is_named(tmp_path):
    with pytest.raises(UserError, match="longer than the disk allows"), Run(tmp_path / ("r" * 300)):
        pass
