"""Files of a stage that were lost or damaged are found, named, and made again or refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.stage_work import ITEMS, fill_stage, make_shard, read_content

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.store import integrity
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage, check_model_folder, open_stage
from distill.store.tables import DROPPED, Reader


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = [
    pytest.param(how, marks=pytest.mark.bad_input("damage", f"a shard {what}", "made again"))
    for how, what in ((delete, "deleted"), (truncate, "cut short"), (flip, "with one bit flipped"))
]


@pytest.fixture(autouse=True)
def another_process():
    """Files are compared once a process: each test is one."""
    integrity._verified.clear()
    yield
    integrity._verified.clear()


def made_again(folder: Path, work: Callable[[str], ShardResult] = make_shard) -> list[str]:
    """What is worked on where the stage is run once more."""
    done: list[str] = []
    integrity._verified.clear()
    fill_stage(folder, {}, work=lambda item: (done.append(item), work(item))[1])
    return done


@pytest.mark.parametrize("harm", DAMAGE)
def test_damaged_shard_of_a_complete_stage_is_made_again(
    tmp_path, caplog, harm: Callable[[Path], None]
):
    stage = fill_stage(tmp_path / "run", {})
    before = read_content(stage.folder)
    harm(stage.folder / "part-00001.parquet")
    assert made_again(tmp_path / "run") == [ITEMS[1]]
    assert "part-00001.parquet" in caplog.text
    assert read_content(stage.folder) == before
    assert stage.complete


@pytest.mark.parametrize("harm", DAMAGE)
def test_damaged_shard_of_a_stopped_stage_is_made_again(tmp_path, harm):
    whole = read_content(fill_stage(tmp_path / "whole", {}).folder)
    with Run(tmp_path / "run") as run:
        stage = run.open_stage("words", {})
        stage.map_shards(DROPPED, ITEMS[:2], make_shard)
    harm(stage.folder / "part-00000.parquet")
    assert made_again(tmp_path / "run") == [ITEMS[0], ITEMS[2]]
    assert read_content(stage.folder) == whole


@pytest.mark.bad_input("damage", "a deleted shard of a run of before", "made again")
def test_run_of_before_without_checksums_goes_on(tmp_path):
    stage = fill_stage(tmp_path / "run", {})
    _forget_checksums(stage)
    assert made_again(tmp_path / "run") == []
    assert "files" in stage.manifest, "its checksums are taken when it is opened"
    _forget_checksums(stage)
    (stage.folder / "part-00002.parquet").unlink()
    assert made_again(tmp_path / "run") == [ITEMS[2]]


def _forget_checksums(stage: Stage) -> None:
    for path in [stage.metadata_dir / "manifest.json", *stage.metadata_dir.glob("part-*.json")]:
        recorded = json.loads(path.read_text())
        recorded.pop("files", None)
        recorded.pop("file", None)
        recorded.pop("dropped", None)
        path.write_text(json.dumps(recorded))


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(how, marks=pytest.mark.bad_input("damage", f"dropped rows, {what}", said))
        for how, what, said in (
            (delete, "deleted", "made again with their shard"),
            (truncate, "cut short", "made again with their shard"),
            (flip, "one bit flipped", "made again with their shard"),
        )
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_damaged_dropped_rows_are_made_again(tmp_path, caplog, harm, complete):
    stage = fill_stage(tmp_path / "run", {}, work=drops_a_row)
    if not complete:
        write_json(stage.metadata_dir / "manifest.json", _unfinished(stage))
    before = dropped_tables(stage)
    harm(stage.metadata_dir / "dropped-part-00001.parquet")
    assert made_again(tmp_path / "run", drops_a_row) == [ITEMS[1]]
    assert "dropped-part-00001.parquet" in caplog.text
    assert dropped_tables(stage) == before
    assert stage.complete
    assert made_again(tmp_path / "run", drops_a_row) == []


def drops_a_row(item: str) -> ShardResult:
    row = {"item_id": item, "reason": "short", "text": item * 30}
    return replace(make_shard(item), dropped=[row])


def dropped_tables(stage: Stage) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(stage.metadata_dir.glob("*.parquet"))}


def _unfinished(stage: Stage) -> dict[str, object]:
    manifest = stage.manifest | {"complete": False}
    del manifest["files"]
    return manifest


def test_shard_that_drops_nothing_has_no_table_of_it(tmp_path):
    stage = fill_stage(tmp_path / "run", {}, work=drops_a_row)
    (stage.folder / "part-00001.parquet").unlink()
    made_again(tmp_path / "run")
    assert [*dropped_tables(stage)] == [f"dropped-part-{n:05d}.parquet" for n in (0, 2)]


def test_dropped_rows_that_change_leave_what_was_made_from_the_stage(tmp_path):
    def run(work: Callable[[str], ShardResult]) -> None:
        integrity._verified.clear()
        fill_stage(tmp_path / "run", {}, work=work)
        with Run(tmp_path / "run") as opened:
            first = opened.open_stage("words", {})
            opened.open_stage("second", {}, [first])

    run(drops_a_row)
    (tmp_path / "run/words/.stage/dropped-part-00000.parquet").unlink()
    run(lambda item: replace(drops_a_row(item), dropped=drops_a_row(item).dropped * 2))
    assert not (tmp_path / "run/superseded").exists()


@pytest.mark.parametrize("harm", [delete, truncate, flip])
def test_recorded_file_of_the_bookkeeping_is_made_again(tmp_path, caplog, harm):
    def finish() -> Stage:
        integrity._verified.clear()
        with Run(tmp_path) as run:
            stage = run.open_stage("words", {})
            if not stage.complete:
                write_json(stage.metadata_dir / "changes.json", ["a change"] * 20)
                stage.finish(["changes.json"])
        return stage

    path = finish().metadata_dir / "changes.json"
    before = path.read_bytes()
    harm(path)
    finish()
    assert "changes.json" in caplog.text
    assert path.read_bytes() == before


@pytest.mark.bad_input("damage", "a shard or dropped rows, for a command that reads", "refused")
@pytest.mark.parametrize("harm", [delete, truncate, flip])
@pytest.mark.parametrize("name", ["part-00001.parquet", ".stage/dropped-part-00001.parquet"])
def test_command_that_reads_refuses_a_damaged_file(tmp_path, harm, name):
    stage = fill_stage(tmp_path / "run", {}, work=drops_a_row)
    paths = sorted([*stage.folder.glob("*.parquet"), *stage.metadata_dir.glob("*.parquet")])
    assert [*integrity.check_files(stage, paths)] == paths
    harm(stage.folder / name)
    with pytest.raises(UserError, match="distill run RECIPE") as refused:
        list(integrity.check_files(stage, paths))
    assert refused.value.where == str(stage.folder / name)


@pytest.mark.bad_input("damage", "figures of a shard that are torn", "the shard is made again")
def test_torn_figures_of_a_shard_are_made_again_with_it(tmp_path):
    stage = fill_stage(tmp_path / "run", {})
    (stage.metadata_dir / "part-00001.json").write_text('{"rows": 1')
    assert made_again(tmp_path / "run") == [ITEMS[1]]
    assert stage.manifest["counts"] == {"kept": 3}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(text, marks=pytest.mark.bad_input("damage", f"a manifest: {what}", "refused"))
        for text, what in (
            ("", "empty"),
            ('{"fingerprint": "ab', "torn"),
            ("[1, 2]", "a list"),
            ('{"fingerprint": 3, "inputs": {}, "settings": {}, "complete": true}', "other types"),
            ('{"complete": true}', "keys missing"),
        )
    ],
)
def test_manifest_that_cannot_be_read_is_named_with_the_way_out(tmp_path, content):
    stage = fill_stage(tmp_path / "run", {})
    (stage.metadata_dir / "manifest.json").write_text(content)
    with pytest.raises(UserError) as refused:
        fill_stage(tmp_path / "run", {})
    assert refused.value.where.endswith("words/.stage/manifest.json")
    assert str(stage.folder) in refused.value.remedy
    stage.folder.rename(tmp_path / "away")
    assert fill_stage(tmp_path / "run", {}).complete


@pytest.mark.bad_input("damage", "a manifest of a newer distill", "refused, the update named")
def test_manifest_of_a_newer_distill_is_refused(tmp_path):
    with Run(tmp_path) as run:
        path = run.open_stage("words", {}).metadata_dir / "manifest.json"
        write_json(path, read_json(path) | {"format": 2})
        with pytest.raises(UserError, match="newer distill"):
            run.open_stage("words", {})


def test_stage_made_from_shards_with_other_bytes_is_made_again(tmp_path):
    def two_stages(word: str) -> list[str]:
        done: list[str] = []
        integrity._verified.clear()
        with Run(tmp_path / "run") as run:
            first = run.open_stage("first", {})
            if not first.complete:
                first.map_shards(DROPPED, ITEMS, lambda item: make_shard(f"{item} {word}"))
                first.finish()
            second = run.open_stage("second", {}, [first])
            if not second.complete:
                second.map_shards(
                    DROPPED, ITEMS, lambda item: (done.append(item), make_shard(item))[1]
                )
                second.finish()
        return done

    assert two_stages("one") == ITEMS
    assert two_stages("one") == []
    (tmp_path / "run/first/part-00000.parquet").unlink()
    assert two_stages("one") == [], "made again with the same bytes"
    (tmp_path / "run/first/part-00000.parquet").unlink()
    assert two_stages("other") == ITEMS
    assert (tmp_path / "run/superseded/second-outdated").is_dir()


@pytest.mark.bad_input("damage", "a file of a model that a stage made", "refused, or made again")
def test_files_of_a_stage_are_all_compared(tmp_path):
    def train(run: Run) -> Stage:
        stage = run.open_stage("student", {})
        if not stage.complete:
            (stage.folder / "model.safetensors").write_bytes(b"weights")
            stage.finish()
        return stage

    with Run(tmp_path) as run:
        stage = train(run)
    (stage.folder / "model.safetensors").write_bytes(b"weighta")
    integrity._verified.clear()
    with pytest.raises(UserError, match="distill run"):
        check_model_folder(stage.folder)
    with Run(tmp_path) as run:
        train(run)
    check_model_folder(stage.folder)
    assert (stage.folder / "model.safetensors").read_bytes() == b"weights"
    assert (stage.metadata_dir / "damaged" / "model.safetensors").read_bytes() == b"weighta"


def test_table_is_opened_by_its_manifest_alone(tmp_path):
    """No shard of a complete table is opened to count its rows."""
    stage = fill_stage(tmp_path, {})
    for path in stage.folder.glob("*.parquet"):
        path.write_bytes(b"no Parquet")
    assert len(Reader(DROPPED, open_stage(stage.folder).folder)) == 3
