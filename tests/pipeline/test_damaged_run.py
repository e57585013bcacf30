"""A complete run whose files were damaged: the same command names them, makes them again, and ends
with the same bytes."""

import shutil
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import pytest
import yaml
from helpers.fresh_process import run_distill

TABLES = ("passages", "generations", "parsed", "queries", "candidates", "judgements-ql")
TABLES += ("judgements-rc", "labels", "examples")


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def content(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("*/part-*.parquet"), *folder.glob("*/*.safetensors")]
    paths += folder.glob("vectors/*/vectors.npy")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def damage(folder: Path, harms: Sequence[Callable[[Path], None]], place: int) -> list[Path]:
    """One shard of each table, and what has no shards, by the harms in turn."""
    harmed = [sorted((folder / name).glob("part-*.parquet"))[place] for name in TABLES]
    harmed += [folder / "student" / "model.safetensors", folder / "base" / "model.safetensors"]
    for path, harm in zip(harmed, cycle(harms), strict=False):
        harm(path)
    return harmed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harms", "place"), [([delete], 0), ([truncate, flip], -1)], ids=["deleted", "changed"]
)
def test_damaged_parts_are_named_and_made_again(whole_run, recipe_file, tmp_path, harms, place):
    folder = shutil.copytree(whole_run, tmp_path / "run", symlinks=True)
    undisturbed = content(folder)
    assert len(undisturbed) > 30
    harmed = damage(folder, harms, place)
    again = run_distill("run", str(recipe_file), "--run", str(folder))
    assert again.returncode == 0, again.stderr
    said = again.stderr.replace("\n", "")
    for path in harmed:
        assert str(path.relative_to(folder)) in said, path
    assert content(folder) == undisturbed
    calm = run_distill("run", str(recipe_file), "--run", str(folder))
    assert calm.returncode == 0
    assert "made again" not in calm.stderr


@pytest.mark.slow
def test_damaged_table_leaves_the_student_as_it_is(whole_run, recipe_file, tmp_path):
    folder = shutil.copytree(whole_run, tmp_path / "run", symlinks=True)
    before = (folder / "student" / "model.safetensors").stat().st_mtime_ns
    shard = folder / "queries" / "part-00001.parquet"
    whole = shard.read_bytes()
    truncate(shard)
    again = run_distill("run", str(recipe_file), "--run", str(folder))
    assert again.returncode == 0, again.stderr
    assert shard.read_bytes() == whole
    assert (folder / "student" / "model.safetensors").stat().st_mtime_ns == before
    assert not (folder / "superseded").exists()


@pytest.mark.slow
def test_models_that_were_moved_leave_a_run_as_it_is(whole_run, recipe_file, tmp_path):
    folder = shutil.copytree(whole_run, tmp_path / "run", symlinks=True)
    before = (folder / "student" / "model.safetensors").stat().st_mtime_ns
    recipe = yaml.safe_load(recipe_file.read_text(encoding="utf-8"))
    moved = []
    for section, key in (
        ("llm", "model"),
        ("retriever", "model"),
        ("student", "encoder"),
        ("teacher", "model"),
    ):
        other = shutil.copytree(recipe[section][key], tmp_path / section)
        moved += ["--set", f"{section}.{key}={other}"]
    again = run_distill("run", str(recipe_file), "--run", str(folder), *moved)
    assert again.returncode == 0, again.stderr
    assert (folder / "student" / "model.safetensors").stat().st_mtime_ns == before
