"""The cache of replies: what it identifies, and that a crash or another process costs nothing."""

import multiprocessing
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.store.request_cache import RequestCache, make_request_key

BODY = {"model": "m", "prompt": "why", "temperature": 0.7, "seed": 3}


def test_replies_are_found_by_another_reader(tmp_path):
    key = make_request_key("/completions", BODY)
    RequestCache(tmp_path / "run" / "requests.sqlite").keep(key, {"text": "w\x00ü\n", "end": None})
    again = RequestCache(tmp_path / "run" / "requests.sqlite")
    assert again.find([key, make_request_key("/completions", {})]) == {
        key: {"text": "w\x00ü\n", "end": None}
    }


def test_request_key_does_not_depend_on_the_order_of_fields():
    assert make_request_key("/c", BODY) == make_request_key("/c", dict(reversed(BODY.items())))


@pytest.mark.parametrize("change", [{"seed": 4}, {"model": "n"}, {"prompt": "who"}, {"stop": "."}])
def test_request_key_holds_whatever_changes_the_reply(change):
    assert make_request_key("/c", BODY) != make_request_key("/c", {**BODY, **change})
    assert make_request_key("/c", BODY) != make_request_key("/d", BODY)
    assert make_request_key("/c", BODY) != make_request_key("/c", BODY, " mark")


def test_reply_that_was_first_stays(tmp_path):
    cache = RequestCache(tmp_path / "requests.sqlite")
    cache.keep(b"k", "first")
    cache.keep(b"k", "second")
    assert cache.find([b"k"]) == {b"k": "first"}


def test_replies_of_more_keys_than_an_sql_statement_takes(tmp_path):
    cache = RequestCache(tmp_path / "requests.sqlite")
    keys = [str(i).encode() for i in range(1203)]
    for number, key in enumerate(keys):
        cache.keep(key, number)
    assert cache.find(keys) == {key: number for number, key in enumerate(keys)}


def test_replies_outlive_a_killed_process(tmp_path):
    file = tmp_path / "requests.sqlite"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from distill.store.request_cache import RequestCache\n"
        "cache = RequestCache(Path(sys.argv[1]))\n"
        "for i in range(50): cache.keep(b'%d' % i, i)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(file)], check=False)
    assert ended.returncode == -9
    assert len(RequestCache(file).find([b"%d" % i for i in range(50)])) == 50


def _keep_many(file: Path, first: int) -> None:
    cache = RequestCache(file)
    for number in range(first, first + 100):
        cache.keep(b"%d" % number, number)


def test_request_cache_takes_writes_of_several_processes(tmp_path):
    file = tmp_path / "requests.sqlite"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_keep_many, args=(file, 50 * i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(RequestCache(file).find([b"%d" % i for i in range(200)])) == 200


def test_request_cache_waits_for_another_process_that_is_making_the_file(tmp_path):
    file = tmp_path / "requests.sqlite"
    maker = sqlite3.connect(file, isolation_level=None)
    maker.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(RequestCache, file)
        time.sleep(0.2)
        maker.execute("COMMIT")
        with closing(opened.result()) as cache:
            cache.keep(b"k", 1)
            assert cache.find([b"k"]) == {b"k": 1}
    maker.close()


@pytest.mark.bad_input("damage", "requests.sqlite that is no database", "moved aside, said")
def test_file_that_is_no_database_is_moved_aside_as_it_is(tmp_path, caplog):
    file = tmp_path / "requests.sqlite"
    file.write_text("these are my notes " * 100)
    cache = RequestCache(file)
    cache.keep(b"k", 1)
    assert cache.find([b"k"]) == {b"k": 1}
    aside = tmp_path / "requests.sqlite.damaged-1"
    assert aside.read_text() == "these are my notes " * 100
    assert f"moved to {aside.name}, and 0 replies were read out of it" in caplog.text


@pytest.mark.parametrize(
    "reply",
    ['{"text": "a"', "null and void", b"\xff\xfe", '{"text": "another"}', "[" * 100_000],
    ids=["cut", "no JSON", "no text", "another", "nested"],
)
@pytest.mark.bad_input("damage", "a reply in requests.sqlite that was changed", "asked for again")
def test_reply_that_was_changed_is_none_and_can_be_kept_again(tmp_path, reply, caplog):
    file = tmp_path / "requests.sqlite"
    cache = RequestCache(file)
    cache.keep(b"k", {"text": "a"})
    cache.keep(b"l", {"text": "b"})
    other = sqlite3.connect(file)
    other.execute("UPDATE replies SET reply = ? WHERE key = ?", (reply, b"k"))
    other.commit()
    assert cache.find([b"k", b"l"]) == {b"l": {"text": "b"}}
    assert "1 of its replies are damaged; they are asked for again" in caplog.text
    cache.keep(b"k", {"text": "a"})
    assert cache.find([b"k"]) == {b"k": {"text": "a"}}


def test_replies_of_before_there_were_checksums_are_found(tmp_path):
    file = tmp_path / "requests.sqlite"
    old = sqlite3.connect(file)
    old.execute("CREATE TABLE replies (key BLOB PRIMARY KEY, reply TEXT NOT NULL)")
    old.execute("INSERT INTO replies VALUES (?, '[1, 2]')", (b"k",))
    old.commit()
    old.close()
    assert RequestCache(file).find([b"k"]) == {b"k": [1, 2]}


@pytest.mark.bad_input("disk", "a cache that cannot be written", "refused with the path")
def test_cache_that_cannot_be_written_says_so(tmp_path):
    cache = RequestCache(tmp_path / "requests.sqlite")
    other = sqlite3.connect(tmp_path / "requests.sqlite")
    other.execute("DROP TABLE replies")
    other.commit()
    with pytest.raises(UserError, match="the same command continues"):
        cache.keep(b"k", 1)
