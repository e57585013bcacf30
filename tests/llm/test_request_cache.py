"""The cache of replies: what it identifies, and that a crash or another process costs nothing."""

import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.llm.request_cache import RequestCache, request_key

BODY = {"model": "m", "prompt": "why", "temperature": 0.7, "seed": 3}


def test_what_is_kept_is_found_by_another_reader(tmp_path):
    key = request_key("/completions", BODY)
    RequestCache(tmp_path / "run" / "requests.sqlite").keep(key, {"text": "w\x00ü\n", "end": None})
    again = RequestCache(tmp_path / "run" / "requests.sqlite")
    assert again.find([key, request_key("/completions", {})]) == {
        key: {"text": "w\x00ü\n", "end": None}
    }


def test_a_key_is_of_the_content_not_of_the_order():
    assert request_key("/c", BODY) == request_key("/c", dict(reversed(BODY.items())))


@pytest.mark.parametrize("change", [{"seed": 4}, {"model": "n"}, {"prompt": "who"}, {"stop": "."}])
def test_whatever_changes_the_reply_changes_the_key(change):
    assert request_key("/c", BODY) != request_key("/c", {**BODY, **change})
    assert request_key("/c", BODY) != request_key("/d", BODY)
    assert request_key("/c", BODY) != request_key("/c", BODY, " mark")


def test_the_first_reply_stays(tmp_path):
    cache = RequestCache(tmp_path / "requests.sqlite")
    cache.keep(b"k", "first")
    cache.keep(b"k", "second")
    assert cache.find([b"k"]) == {b"k": "first"}


def test_more_keys_than_a_statement_takes(tmp_path):
    cache = RequestCache(tmp_path / "requests.sqlite")
    keys = [str(i).encode() for i in range(1203)]
    for number, key in enumerate(keys):
        cache.keep(key, number)
    assert cache.find(keys) == {key: number for number, key in enumerate(keys)}


def test_what_was_kept_outlives_a_killed_process(tmp_path):
    file = tmp_path / "requests.sqlite"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from distill.llm.request_cache import RequestCache\n"
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


def test_processes_write_at_once(tmp_path):
    file = tmp_path / "requests.sqlite"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_keep_many, args=(file, 50 * i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(RequestCache(file).find([b"%d" % i for i in range(200)])) == 200


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "requests.sqlite"
    file.write_text("these are my notes " * 100)
    with pytest.raises(UserError, match=r"requests\.sqlite.*keep a server's replies"):
        RequestCache(file)
    assert file.read_text() == "these are my notes " * 100


def test_a_cache_that_cannot_be_written_says_so(tmp_path):
    cache = RequestCache(tmp_path / "requests.sqlite")
    other = sqlite3.connect(tmp_path / "requests.sqlite")
    other.execute("DROP TABLE replies")
    other.commit()
    with pytest.raises(UserError, match="the same command continues"):
        cache.keep(b"k", 1)
