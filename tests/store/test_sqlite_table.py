"""Damaged SQLite files: what can be read is kept, the rest is missing, and neither is silent."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.store.judgement_cache import JudgementCache
from distill.store.request_cache import RequestCache

REPLIES = {b"%032d" % n: {"text": f"reply {n} " * (n % 700)} for n in range(400)}
JUDGED = {b"%016d" % n: (n / 7, n) for n in range(4000)}


def write_replies(file: Path) -> None:
    with closing(RequestCache(file)) as cache:
        for key, reply in REPLIES.items():
            cache.keep(key, reply)


def write_judgements(file: Path) -> None:
    with closing(JudgementCache(file)) as judged:
        judged.keep(JUDGED)


def cut(data: bytes) -> bytes:
    return data[: len(data) * 3 // 5]


def zero_the_header(data: bytes) -> bytes:
    return bytes(100) + data[100:]


def zero_the_first_page(data: bytes) -> bytes:
    return bytes(4096) + data[4096:]


def zero_the_middle(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(20_000) + data[middle + 20_000 :]


def flip_every_page_of_a_third(data: bytes) -> bytes:
    changed = bytearray(data)
    for place in range(4096, len(data) // 3, 4096):
        changed[place : place + 8] = b"\xaa" * 8
    return bytes(changed)


def write_garbage(data: bytes) -> bytes:
    return os.urandom(len(data))


DAMAGE = [
    pytest.param(cut, 0.3, id="cut"),
    pytest.param(zero_the_header, 0.99, id="no header"),
    pytest.param(zero_the_first_page, 0.95, id="no first page"),
    pytest.param(zero_the_middle, 0.7, id="zeros in the middle"),
    pytest.param(flip_every_page_of_a_third, 0.4, id="flipped pages"),
    pytest.param(write_garbage, 0, id="garbage"),
]


@pytest.mark.parametrize(("damage", "least"), DAMAGE)
@pytest.mark.bad_input("damage", "requests.sqlite cut or overwritten", "moved aside, rest kept")
def test_replies_left_in_a_damaged_file_are_kept_and_the_file_is_moved_aside(
    tmp_path, damage, least, caplog
):
    file = tmp_path / "requests.sqlite"
    write_replies(file)
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    with closing(RequestCache(file)) as cache:
        found = cache.find(REPLIES)
        assert found.items() <= REPLIES.items()
        assert len(found) >= least * len(REPLIES)
        for key, reply in REPLIES.items():
            cache.keep(key, reply)
        assert cache.find(REPLIES) == REPLIES
    assert (tmp_path / "requests.sqlite.damaged-1").read_bytes() == damaged
    assert "is damaged" in caplog.text
    with closing(RequestCache(file)) as cache:  # for good
        assert cache.find(REPLIES) == REPLIES


@pytest.mark.parametrize(("damage", "least"), DAMAGE)
@pytest.mark.bad_input("damage", "judgements.sqlite cut or overwritten", "moved aside, rest kept")
def test_judgements_left_in_a_damaged_file_are_kept_and_the_file_is_moved_aside(
    tmp_path, damage, least, caplog
):
    file = tmp_path / "judgements.sqlite"
    write_judgements(file)
    file.write_bytes(damage(file.read_bytes()))
    with closing(JudgementCache(file)) as judged:
        found = judged.find(list(JUDGED))
        assert found.items() <= JUDGED.items()
        assert len(found) >= least * len(JUDGED)
        judged.keep(JUDGED)
        assert judged.find(list(JUDGED)) == JUDGED
    assert "is damaged" in caplog.text


def test_damage_while_the_file_is_open_is_mended_too(tmp_path, caplog):
    file = tmp_path / "judgements.sqlite"
    write_judgements(file)
    with closing(JudgementCache(file)) as judged:
        file.write_bytes(zero_the_middle(file.read_bytes()))
        assert judged.find(list(JUDGED)).items() <= JUDGED.items()
        judged.keep(JUDGED)
        assert judged.find(list(JUDGED)) == JUDGED


def test_replies_in_the_write_ahead_log_of_a_killed_process_survive_a_damaged_file(tmp_path):
    file = tmp_path / "requests.sqlite"
    write_replies(file)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from distill.store.request_cache import RequestCache\n"
        "RequestCache(Path(sys.argv[1])).keep(b'late' * 8, 'the last one')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(file)], check=False)
    file.write_bytes(zero_the_header(file.read_bytes()))
    with closing(RequestCache(file)) as cache:
        assert cache.find([b"late" * 8]) == {b"late" * 8: "the last one"}


@pytest.mark.parametrize("make", [RequestCache, JudgementCache])
def test_caches_of_replies_and_judgements_are_readable_by_the_owner_alone(tmp_path, make):
    file = tmp_path / "new" / "one.sqlite"
    with closing(make(file)):
        assert {stat.S_IMODE(p.stat().st_mode) for p in file.parent.glob("one.sqlite*")} == {0o600}
    file.chmod(0o644)
    with closing(make(file)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("make", [RequestCache, JudgementCache])
@pytest.mark.bad_input("paths", "a folder where requests.sqlite is to be", "named, exit 2")
def test_folder_in_its_place_is_named(tmp_path, make):
    (tmp_path / "one.sqlite").mkdir()
    with pytest.raises(UserError, match=r"one\.sqlite"):
        make(tmp_path / "one.sqlite")


def test_database_of_something_else_is_named_and_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "one.sqlite")) as other:
        other.execute("CREATE TABLE judged (name TEXT)")
        other.commit()
    with pytest.raises(UserError, match=r"move it away"):
        JudgementCache(tmp_path / "one.sqlite").find([b"k"])
