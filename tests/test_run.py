"""A run's folder: fingerprints, resume, refusal, the lock."""

import multiprocessing
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.run import Run, Shard, read_json
from distill.tables import DROPPED, read_rows

ITEMS = ["one", "two", "three"]


def shard_of(item: str) -> Shard:
    shard = Shard([{"item_id": item, "reason": "test", "text": item.upper()}])
    shard.counts["kept"] += 1
    return shard


def fill(folder: Path, settings: dict, overwrite="never", work=shard_of):
    with Run(folder, overwrite) as run:
        stage = run.stage("words", settings)
        stage.map_shards(DROPPED, ITEMS, work)
        stage.finish()
        return stage


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def test_a_stopped_stage_goes_on_and_ends_with_the_same_bytes(tmp_path):
    done = []

    def stops(item: str) -> Shard:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(item)
        return shard_of(item)

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "cut", {}, work=stops)
    fill(tmp_path / "cut", {}, work=lambda item: (done.append(item), shard_of(item))[1])
    whole = fill(tmp_path / "whole", {})
    assert done == ITEMS
    assert content(tmp_path / "cut" / "words") == content(whole.folder)
    assert read_json(tmp_path / "cut/words/.stage/manifest.json")["counts"] == {"kept": 3}


def test_the_manifest_tells_settings_versions_rows_and_seconds(tmp_path):
    manifest = fill(tmp_path, {"size": 3}).manifest
    assert manifest["settings"] == {"size": 3}
    assert manifest["rows"] == 3
    assert manifest["complete"]
    assert manifest["seconds"] >= 0
    assert {"python", "torch", "distill"} <= manifest["versions"].keys()


def test_other_settings_are_refused_and_named(tmp_path):
    before = fill(tmp_path, {"size": 3, "seed": 1})
    kept = content(before.folder)
    with pytest.raises(UserError, match=r"changed: size(.|\n)*--overwrite stale"):
        fill(tmp_path, {"size": 4, "seed": 1})
    assert content(before.folder) == kept


def test_what_is_overwritten_is_kept_and_comes_back(tmp_path):
    calls = []

    def counted(item: str) -> Shard:
        calls.append(item)
        return shard_of(item)

    fill(tmp_path, {"size": 3}, work=counted)
    fill(tmp_path, {"size": 4}, "stale", work=counted)
    assert len(calls) == 6
    back = fill(tmp_path, {"size": 3}, "stale", work=counted)
    assert len(calls) == 6
    assert back.manifest["settings"] == {"size": 3}


def test_always_redoes_what_is_there(tmp_path):
    calls = []
    for _ in range(2):
        fill(tmp_path, {}, "always", work=lambda item: (calls.append(item), shard_of(item))[1])
    assert len(calls) == 6


def test_a_folder_that_is_no_stage_is_not_written_over(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "mine.txt").write_text("keep me")
    with pytest.raises(UserError, match="fingerprint"):
        fill(tmp_path, {})
    assert (tmp_path / "words" / "mine.txt").read_text() == "keep me"


def _hold(folder: Path, held, release) -> None:
    with Run(folder):
        held.set()
        release.wait(30)


def test_a_second_writer_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    try:
        assert held.wait(60)
        with pytest.raises(UserError, match="another process"), Run(tmp_path):
            pass
    finally:
        release.set()
        process.join()
    with Run(tmp_path):
        pass


def test_a_table_opens_with_datasets_and_nothing_of_ours(tmp_path):
    import datasets

    stage = fill(tmp_path, {})
    opened = datasets.load_dataset(
        "parquet", data_dir=str(stage.folder), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened.to_list() == list(read_rows(DROPPED, stage.folder))
