"""A disk that is full: what is said, that nothing is torn, and that the same command continues."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.fresh_process import run_distill

from distill.errors import UserError
from distill.store.judgement_cache import JudgementCache


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, whose size is set by `grow`; where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted by this user")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def grow(place: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def tables(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("*/*.parquet"), *folder.glob("vectors/*/vectors.npy")]
    paths += folder.glob("*/*.safetensors")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.slow
@pytest.mark.bad_input("disk", "a disk that fills up, at eight sizes", "named with what is free")
def test_run_on_a_full_disk_says_so_and_continues(small_disk, recipe_file, whole_run, tmp_path):
    command = ("run", str(recipe_file), "--run", str(small_disk / "run"))
    cache = {"DISTILL_CACHE": str(tmp_path / "cache")}
    for size in ("64k", "160k", "400k", "700k", "1100k", "1600k", "2200k", "3m"):
        grow(small_disk, size)
        told = run_distill(*command, **cache)
        if told.returncode == 0:
            break
        assert told.returncode == 2, told.stderr
        assert "the disk is full" in told.stderr
        assert "Traceback" not in told.stderr
        assert not list((small_disk / "run").rglob(".*.part"))
    grow(small_disk, "200m")
    done = run_distill(*command, **cache)
    assert done.returncode == 0, done.stderr
    assert tables(small_disk / "run") == tables(whole_run)


@pytest.mark.bad_input("disk", "no room for judgements.sqlite", "named with what is free")
def test_cache_of_judgements_on_a_full_disk_says_so(small_disk):
    (small_disk / "rest").write_bytes(b"0" * 40_960)
    with pytest.raises(UserError, match="the disk is full"):
        JudgementCache(small_disk / "judgements.sqlite").keep({b"0" * 32: (1.0, 1)})
