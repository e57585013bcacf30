"""A run's copy in an object store, on a real server that speaks S3."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers.ray_work import wait_until
from helpers.written_files import read_files

from distill.errors import UserError
from distill.object_store import lease, mirror, uploads
from distill.object_store.mirror import open_mirror
from distill.object_store.objects import ObjectFolder
from distill.store.request_cache import RequestCache
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import DROPPED

STORE = "s3://bucket/runs/mine"
ITEMS = [f"item {number}" for number in range(6)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Minutes as fractions of a second."""
    monkeypatch.setattr(uploads, "PATIENCE", 0.3)
    monkeypatch.setattr(uploads, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(mirror, "_AFTER_A_FAULT", 0.2)
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.2)


@contextmanager
def opened(folder: Path, overwrite="never", store=STORE) -> Iterator[Run]:
    with Run(folder, overwrite) as run, open_mirror(folder, store) as run.mirror:
        yield run


def work(item: str) -> ShardResult:
    return ShardResult([{"item_id": item, "reason": "", "text": item * 3}])


def fill(run: Run, name="words", items=ITEMS, inputs=(), done=work, **settings) -> Stage:
    stage = run.open_stage(name, settings, inputs)
    stage.map_shards(DROPPED, items, done)
    stage.finish()
    return stage


def never(item: str) -> ShardResult:
    raise AssertionError(f"{item} was paid for twice")


def test_store_holds_a_copy_of_the_folder(server, tmp_path):
    with opened(tmp_path / "run") as run:
        stage = fill(run)
        (run.folder / "prompts").mkdir()
        (run.folder / "prompts" / "a.jinja").write_text("Say it.")
    stored = server.read_objects("runs/mine")
    assert json.loads(stored.pop(".lease.json"))["released"] is True
    assert json.loads(stored["words/.stage/manifest.json"]) == stage.manifest
    local = [
        path for path in run.folder.rglob("*") if path.is_file() and ".store" not in path.parts
    ]
    names = {str(p.relative_to(run.folder)): p.read_bytes() for p in local if p.name != ".lock"}
    assert stored == names


def test_folder_that_is_lost_continues_from_the_store(server, tmp_path):
    """And ends with the bytes of a run that was not disturbed; what is there is not done again."""
    folder = tmp_path / "run"

    def stops(item: str) -> ShardResult:
        if item == ITEMS[4]:
            raise KeyboardInterrupt
        return work(item)

    def run_until_stopped() -> None:
        with opened(folder) as run:
            first = fill(run, "first")
            RequestCache(folder / "requests.sqlite").keep(b"a key", {"paid": "for"})
            fill(run, inputs=[first], done=stops)

    with pytest.raises(KeyboardInterrupt):
        run_until_stopped()
    shutil.copytree(folder, tmp_path / "left behind")
    shutil.rmtree(folder)
    with opened(folder) as run:
        first = fill(run, "first", done=never)
        done = []
        fill(run, inputs=[first], done=lambda item: done.append(item) or work(item))
        assert RequestCache(folder / "requests.sqlite").find([b"a key"])
        assert (folder / "requests.sqlite").stat().st_mode & 0o077 == 0
    assert done == ITEMS[4:]
    with Run(tmp_path / "other") as run:
        fill(run, inputs=[fill(run, "first")])
    for name in ("first", "words"):
        assert read_files(folder / name) == read_files(tmp_path / "other" / name)
    with opened(tmp_path / "left behind") as run:  # of the machine that came first
        stage = run.open_stage("words", {}, [run.open_stage("first", {})])
        assert stage.complete
    assert read_files(tmp_path / "left behind" / "words") == read_files(folder / "words")


def test_tables_are_fetched_when_their_stage_is_opened(server, tmp_path):
    with opened(tmp_path / "run") as run:
        fill(run, "second", inputs=[fill(run, "first")])
    with opened(tmp_path / "other") as run:
        assert (run.folder / "second" / ".stage" / "manifest.json").exists()
        assert not read_files(run.folder / "second")
        fill(run, "first", done=never)
        assert len(read_files(run.folder / "first")) == len(ITEMS)
        assert not read_files(run.folder / "second")


@pytest.mark.slow
def test_store_that_fails_now_and_then_gets_all(server, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "PATIENCE", 60.0)
    count = iter(range(10_000))
    server.refuse = lambda method, path: "503 Slow Down" if next(count) % 3 == 1 else None
    with opened(tmp_path / "run") as run:
        fill(run)
    server.refuse = lambda method, path: None
    with opened(tmp_path / "other") as run:
        fill(run, done=never)


@pytest.mark.bad_input(
    "object store", "a server that stays away", "refused at the stage's end; the run is whole"
)
def test_store_that_stays_away_ends_the_job_at_the_end_of_the_stage(server, tmp_path, monkeypatch):
    monkeypatch.setattr("distill.object_store.objects._RETRIES", {"max_retries": 0})

    def run_without_store() -> None:
        with opened(tmp_path / "run") as run:
            server.refuse = lambda method, path: "503 Slow Down"
            fill(run)

    with pytest.raises(UserError, match="HTTP status 503") as refused:
        run_without_store()
    assert "same command continues" in refused.value.remedy
    server.refuse = lambda method, path: None
    with opened(tmp_path / "run") as run:
        fill(run, done=never)
    shutil.rmtree(tmp_path / "run")
    with opened(tmp_path / "run") as run:
        fill(run, done=never)


@pytest.mark.bad_input("object store", "a bucket that does not exist", "refused, exit code 2")
def test_bucket_that_does_not_exist_is_refused(server, tmp_path):
    store = "s3://nowhere/mine"
    with pytest.raises(UserError, match="does not exist"), opened(tmp_path / "run", store=store):
        pass


@pytest.mark.bad_input("object store", "a bucket without permission", "refused by the variables")
def test_bucket_without_permission_is_refused_without_a_secret(server, tmp_path, caplog):
    server.refuse = lambda method, path: "403 Forbidden"
    with pytest.raises(UserError, match="HTTP 403") as refused, opened(tmp_path / "run"):
        pass
    assert "AWS_ACCESS_KEY_ID" in refused.value.remedy
    said = f"{refused.value}{refused.value.__cause__}{caplog.text}"
    assert not any(
        os.environ[name] in said for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )


@pytest.mark.bad_input("object store", "a server without TLS", "refused unless it is allowed")
def test_server_without_encryption_has_to_be_allowed(server, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(UserError, match="AWS_ALLOW_HTTP=true"), opened(tmp_path / "run"):
        pass


@pytest.mark.bad_input(
    "object store", "two jobs on one store", "the second is refused by the first"
)
def test_second_of_two_jobs_is_refused(server, tmp_path):
    refusal = pytest.raises(UserError, match=f"process {os.getpid()} on")
    with opened(tmp_path / "run"), refusal as refused, opened(tmp_path / "other"):
        pass
    assert "wait for it to end" in refused.value.remedy
    with opened(tmp_path / "other"):
        pass


def test_lease_that_is_not_renewed_is_taken_over_and_the_former_job_stops(
    server, tmp_path, monkeypatch
):
    """A job that sleeps for longer than its lease holds, and wakes."""
    renew = lease.Lease._renew

    def sleep_and_wake() -> None:
        with opened(tmp_path / "sleeps") as sleeps:
            monkeypatch.setattr(lease.Lease, "_renew", lambda self: None)
            monkeypatch.setattr(lease, "TAKEN_OVER_AFTER", 0.0)
            with opened(tmp_path / "other") as other:
                fill(other)
                monkeypatch.setattr(lease.Lease, "_renew", renew)
                fill(sleeps, "late")

    with pytest.raises(UserError, match="was taken over by another job"):
        sleep_and_wake()
    assert read_files(tmp_path / "sleeps" / "late")
    assert not [name for name in server.list_names("runs/mine") if name.startswith("late/")]


def test_job_that_was_killed_in_the_same_folder_continues_at_once(server, tmp_path):
    with Run(tmp_path / "run") as run:
        mirror.StoreMirror(run.folder, mirror.ObjectFolder(mirror.parse_address(STORE)))
    with opened(tmp_path / "run") as run:
        fill(run)


def test_stage_is_replaced_under_other_settings_and_comes_back(server, tmp_path):
    folder = tmp_path / "run"
    with opened(folder) as run:
        fill(run, size=1)
    with opened(folder, "stale") as run:
        fill(run, items=ITEMS[:2], size=2)
    assert len(read_files(folder / "words")) == 2
    shutil.rmtree(folder)
    with opened(folder, "stale") as run:
        assert len(read_files(fill(run, items=ITEMS[:2], done=never, size=2).folder)) == 2
        assert len(read_files(fill(run, done=never, size=1).folder)) == len(ITEMS)


@pytest.mark.slow
def test_stage_made_with_other_settings_elsewhere_is_kept_aside(server, tmp_path):
    with opened(tmp_path / "run") as run:
        fill(run, size=1)
    with Run(tmp_path / "other") as run:  # begun before it was told of the store
        fill(run, items=ITEMS[:2], size=2)
    with opened(tmp_path / "other") as run:
        mark = fill(run, items=ITEMS[:2], done=never, size=2).fingerprint
    stored = server.read_objects("runs/mine")
    assert json.loads(stored["words/.stage/manifest.json"])["fingerprint"] == mark
    assert len([name for name in stored if name.startswith("superseded/words-")]) == 13


def test_shards_made_from_inputs_with_other_bytes_do_not_come_back_from_the_mirror(
    server, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    with opened(folder) as run:
        fill(run, "second", inputs=[fill(run, "first")])
    (folder / "first" / "part-00001.parquet").write_bytes(b"damaged")
    monkeypatch.setattr("distill.store.integrity._verified", set())

    def other(item: str) -> ShardResult:
        return ShardResult([{"item_id": item, "reason": "", "text": "other"}])

    with opened(folder) as run:
        fill(run, "first", done=other)
    assert not [name for name in server.list_names("runs/mine") if name.startswith("second/")]


def test_rows_of_two_machines_become_one(server, tmp_path):
    def keep(folder: Path, key: bytes) -> None:
        with opened(folder):
            cache = RequestCache(folder / "requests.sqlite")
            cache.keep(key, key.decode())
            cache.close()

    keep(tmp_path / "a", b"one")
    keep(tmp_path / "b", b"two")
    keep(tmp_path / "a", b"three")
    with opened(tmp_path / "c") as run:
        cache = RequestCache(run.folder / "requests.sqlite")
        assert len(cache.find([b"one", b"two", b"three"])) == 3


def test_sqlite_files_are_copied_while_they_are_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "SNAPSHOT_EVERY", 0.1)
    with opened(tmp_path / "run") as run:
        cache = RequestCache(run.folder / "requests.sqlite")
        cache.keep(b"key", "reply")

        def has_copied() -> bool:  # an earlier copy may be of the empty file
            stored = server.read_objects("runs/mine").get("requests.sqlite", b"")
            (tmp_path / "copy").write_bytes(stored)
            with sqlite3.connect(tmp_path / "copy") as copy, suppress(sqlite3.OperationalError):
                return copy.execute("SELECT count(*) FROM replies").fetchone() == (1,)

        wait_until(has_copied)


def test_sqlite_file_that_takes_longer_to_copy_than_the_pause_between_copies(
    server, tmp_path, monkeypatch
):
    put = ObjectFolder.put_file

    def put_slowly(self, name: str, path: Path) -> str:
        time.sleep(0.1)
        return put(self, name, path)

    monkeypatch.setattr(ObjectFolder, "put_file", put_slowly)
    monkeypatch.setattr(mirror, "SNAPSHOT_EVERY", 0.01)
    with opened(tmp_path / "run") as run:
        cache = RequestCache(run.folder / "requests.sqlite")
        for number in range(40):
            cache.keep(b"%d" % number, number)
            time.sleep(0.02)
        fill(run)
    (tmp_path / "copy").write_bytes(server.read_objects("runs/mine")["requests.sqlite"])
    with sqlite3.connect(tmp_path / "copy") as copy:
        assert copy.execute("SELECT count(*) FROM replies").fetchone() == (40,)


def test_stage_that_is_begun_anew_is_kept_aside_in_the_store(server, tmp_path):
    with opened(tmp_path / "run") as run:
        fill(run)
    (tmp_path / "other" / "words").mkdir(parents=True)
    (tmp_path / "other" / "words" / "notes.txt").write_text("of somebody's own")
    with opened(tmp_path / "other", "stale") as run:
        fill(run)
    stored = server.list_names("runs/mine")
    for place in ("words", "superseded/words-unmarked"):
        assert f"{place}/part-00005.parquet" in stored
    shutil.rmtree(tmp_path / "run" / "words")
    (tmp_path / "run" / "words").mkdir()
    with opened(tmp_path / "run") as run:
        fill(run, done=never)


SLOW = pytest.mark.slow
LOSSES = [pytest.param(n, marks=[] if n in (1, 13, 25) else SLOW) for n in range(1, 27)]
"""A whole run writes 26 files, and its lease once or more: a request of these is always refused."""


@pytest.mark.parametrize("last", LOSSES)
def test_run_continues_from_any_part_that_is_in_the_store(server, tmp_path, monkeypatch, last):
    """The network ends after so many requests, and the machine is lost. Each object is then whole:
    the file of the machine, or what was sent of it before."""
    monkeypatch.setattr("distill.object_store.objects._RETRIES", {"max_retries": 0})
    monkeypatch.setattr(lease, "TAKEN_OVER_AFTER", 0.5)
    put, sent = ObjectFolder.put, {}

    def note_and_put(self, name: str, data: bytes) -> str:
        sent.setdefault(name, []).append(data)
        return put(self, name, data)

    with Run(tmp_path / "whole") as run:
        fill(run, inputs=[fill(run, "first")])
    whole = {name: read_files(run.folder / name) for name in ("first", "words")}

    def run_all(folder: Path) -> None:
        with opened(folder) as run:
            fill(run, inputs=[fill(run, "first")])

    count = iter(range(1000))
    server.refuse = lambda method, path: (
        "503 Slow Down" if method == "PUT" and next(count) >= last else None
    )
    monkeypatch.setattr(ObjectFolder, "put", note_and_put)
    with pytest.raises(UserError, match="503"):
        run_all(tmp_path / "lost")
    server.refuse = lambda method, path: None
    stored = server.read_objects("runs/mine")
    assert json.loads(stored.pop(".lease.json"))
    for name, data in stored.items():
        assert data in [(tmp_path / "lost" / name).read_bytes(), *sent[name]], name
    run_all(tmp_path / "new")
    assert {name: read_files(tmp_path / "new" / name) for name in whole} == whole
    tables = [name for name in stored if name.endswith(".parquet") and ".stage" not in name]
    for name in (of.replace("/", "/.stage/").replace("parquet", "json") for of in tables):
        there = [tmp_path / which / name for which in ("lost", "new")]
        # How long it took is what the lost machine measured.
        assert there[0].read_bytes() == there[1].read_bytes()


@pytest.mark.slow
def test_large_file_is_copied_in_parts(server, tmp_path, monkeypatch):
    monkeypatch.setattr("distill.object_store.objects._SINGLE_PUT", 5 * 1024**2)
    content = os.urandom(12 * 1024**2)
    with opened(tmp_path / "run") as run:
        (run.folder / "vectors.npy").write_bytes(content)
    with opened(tmp_path / "other") as run:
        assert (run.folder / "vectors.npy").read_bytes() == content
    server.requests.clear()
    with opened(tmp_path / "other"):
        pass
    assert not [path for method, path in server.requests if path.endswith("vectors.npy")]


def test_files_are_not_copied_twice(server, tmp_path):
    with opened(tmp_path / "run") as run:
        fill(run)
    server.requests.clear()
    with opened(tmp_path / "run") as run:
        assert run.open_stage("words", {}).complete
    puts = [path for method, path in server.requests if method == "PUT"]
    assert {path.rpartition("/")[2] for path in puts} == {".lease.json"}
