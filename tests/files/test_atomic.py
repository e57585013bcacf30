"""Files are whole or not there, and a disk that refuses one is told with place and remedy."""

import errno
import os
import resource
import signal
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.ray_work import PATIENCE
from safetensors.torch import save_file

from distill.errors import UserError
from distill.files.atomic import (
    commit_bytes,
    explain_full_disk,
    explain_os_error,
    open_atomic_file,
    open_atomic_folder,
    reserve_room,
    write_json,
    write_json_list,
)


@pytest.fixture
def small_files():
    """No file of this process may be longer than 4096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_file_that_the_disk_has_no_room_for_leaves_nothing(tmp_path, small_files):
    commit_bytes(tmp_path / "kept", b"x" * 4000)
    for name in ("kept", "new"):
        with pytest.raises(UserError, match=rf"{name}: .*full.* 5.0 kB are needed.*free") as fault:
            commit_bytes(tmp_path / name, b"x" * 5000)
        assert "the same command continues" in fault.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"x" * 4000


@pytest.mark.parametrize("texts", [[], ["one"], ["p1", 'a "quoted" id', "ü", "line\nbreak"]])
def test_list_written_item_by_item_has_the_bytes_of_a_whole_one(tmp_path, texts):
    write_json_list(tmp_path / "items", iter(texts))
    write_json(tmp_path / "whole", texts)
    assert (tmp_path / "items").read_bytes() == (tmp_path / "whole").read_bytes()


def test_threads_that_write_the_same_file_do_not_clash(tmp_path):
    """Each writes its own file beside it; the last one stays."""
    both = threading.Barrier(2, timeout=PATIENCE)

    def write(letter):
        with open_atomic_file(tmp_path / "one") as beside:
            beside.write_text(letter * 100)
            both.wait()  # both are writing
            return beside

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(write, "ab"))) == 2
    assert (tmp_path / "one").read_text() in ("a" * 100, "b" * 100)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_folder_is_flushed_after_the_rename(tmp_path, monkeypatch):
    flushed = []

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            flushed.append(sorted(os.listdir(descriptor)))

    monkeypatch.setattr(os, "fsync", fsync)
    commit_bytes(tmp_path / "file", b"x")
    with open_atomic_file(tmp_path / "other") as beside:
        beside.write_bytes(b"x")
    assert flushed == [["file"], ["file", "other"]]
    flushed.clear()
    with open_atomic_folder(tmp_path / "folder") as beside:
        (beside / "inner").mkdir()
        (beside / "inner" / "a").touch()
    assert flushed == [["a"], ["inner"], ["file", "folder", "other"]]


def test_file_system_that_flushes_no_folder_is_written_to(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    commit_bytes(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_room_is_reserved_or_refused_before_a_file_is_mapped(tmp_path, small_files):
    (tmp_path / "map").touch()
    reserve_room(tmp_path / "map", 4096)
    assert (tmp_path / "map").stat().st_blocks * 512 >= 4096
    with pytest.raises(UserError, match=r"map: .*1.0 GB are needed"):
        reserve_room(tmp_path / "map", 10**9)


def test_folder_or_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder: is a folder where a file is expected"):
        commit_bytes(tmp_path / "folder", b"")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"one: .*a file where a folder is expected"):
        commit_bytes(tmp_path / "file" / "one", b"")
    with pytest.raises(UserError, match="longer than the disk allows"):
        commit_bytes(tmp_path / ("n" * 300), b"")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


@pytest.mark.parametrize(
    "said",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "database or disk is full",
    ],
)
def test_library_that_says_full_in_its_own_words_is_understood(tmp_path, said):
    error = explain_full_disk(RuntimeError(said), tmp_path / "model")
    assert error is not None
    assert "model: cannot be written: the disk is full" in str(error)


def test_fault_behind_a_fault_is_understood_and_others_are_not(tmp_path):
    fault = ValueError("could not save")
    fault.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "one"))
    assert "one: cannot be written" in str(explain_full_disk(fault))
    assert explain_full_disk(ValueError("28 rows")) is None


def test_error_of_the_system_that_is_not_foreseen_keeps_its_words():
    assert "Too many open files" in str(explain_os_error(OSError(24, "Too many open files", "/a")))


def test_room_on_another_disk_is_not_reported_for_an_unknown_one():
    told = str(explain_full_disk(RuntimeError("No space left on device (os error 28)")))
    assert "the disk is full" in told
    assert "are free" not in told


def list_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_stands_when_its_writer_has_ended_and_not_before(tmp_path):
    with open_atomic_file(tmp_path / "weights") as beside:
        beside.write_bytes(b"new")
        assert not (tmp_path / "weights").exists()
    assert (tmp_path / "weights").read_bytes() == b"new"
    assert list_names(tmp_path) == ["weights"]


def test_writer_that_fails_leaves_the_file_of_before_and_nothing_else(tmp_path):
    commit_bytes(tmp_path / "weights", b"old")

    def write_half():
        with open_atomic_file(tmp_path / "weights") as beside:
            beside.write_bytes(b"new")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half()
    assert (tmp_path / "weights").read_bytes() == b"old"
    assert list_names(tmp_path) == ["weights"]


def test_folder_stands_when_its_writer_has_ended_without_what_a_killed_one_left(tmp_path):
    left = tmp_path / ".index.new"
    left.mkdir()
    (left / "half").touch()
    (tmp_path / "index").mkdir()  # an empty one is in nobody's way
    with open_atomic_folder(tmp_path / "index") as beside:
        (beside / "whole").write_bytes(b"new")
    assert list_names(tmp_path) == ["index"]
    assert list_names(tmp_path / "index") == ["whole"]


def test_folder_whose_writer_fails_is_not_there(tmp_path):
    def write_half():
        with open_atomic_folder(tmp_path / "a" / "index") as beside:
            (beside / "half").touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half()
    assert list_names(tmp_path / "a") == []


@pytest.mark.bad_input(
    "disk", "a disk that fills while weights are written", "refused by file, nothing left of it"
)
@pytest.mark.parametrize("library", ["safetensors", "torch"])
def test_disk_that_fills_while_a_library_writes_weights_is_reported_by_file(
    tmp_path, small_files, library
):
    save = {"safetensors": save_file, "torch": torch.save}[library]

    def write():
        with open_atomic_file(tmp_path / "weights.bin") as beside:
            save({"weight": torch.ones(4096)}, beside)

    with pytest.raises(UserError, match=r"weights\.bin: cannot be written: the disk is full"):
        write()
    assert list_names(tmp_path) == []
