"""kill -9 at moments that nobody chose, also while a report or an export is written: the same two
commands continue and end with the same files."""

import gc
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
from helpers.fresh_process import CONTEXT
from helpers.ray_work import PATIENCE

KILLS = 8
LIFE = 0.5
"""Seconds; a life in which nothing was committed is followed by a longer one, any other by a
shorter one: so long as this machine takes now for a commit."""
LAST_STAGES = ("student", "evaluation", "summary.json", "report.html", "report.md", "exported")


def _live(recipe_file: Path, folder: Path, started) -> None:
    """`distill run` and `distill export`, in this process."""
    import torch

    from distill.cli import cli

    gc.freeze()  # no collection goes through the libraries' objects, and copies their memory
    torch.set_num_threads(1)
    started.set()
    cli.main(["run", str(recipe_file), "--run", str(folder)], standalone_mode=False)
    if not (folder / "exported").exists():
        out = ["--out", str(folder / "exported"), "--format", "sentence-transformers,onnx"]
        cli.main(["export", str(folder), *out], standalone_mode=False)


def _run(recipe_file: Path, folder: Path, seconds: float | None) -> bool:
    """Whether the commands came through before they were killed."""
    started = CONTEXT.Event()
    process = CONTEXT.Process(target=_live, args=(recipe_file, folder, started))
    process.start()
    assert started.wait(PATIENCE)
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return False
    assert process.exitcode == 0
    return True


def _committed(folder: Path) -> set[tuple[str, int]]:
    """All files but what is being written, each with its length; their times may change alone."""
    paths = (path for path in folder.rglob("*") if path.name != "log.jsonl")
    settled = (p for p in paths if not p.name.startswith(".") and ".new" not in str(p))
    return {(str(path), path.stat().st_size) for path in settled if path.is_file()}


def _content(folder: Path) -> dict[str, bytes]:
    """What does not tell of times."""
    paths = [*folder.glob("*/*.parquet"), *folder.glob("*/.stage/*.parquet")]
    paths += [*folder.glob("vectors/*/vectors.npy"), *folder.glob("*/*.safetensors")]
    paths += [*folder.glob("exported/*/*.onnx"), folder / "exported" / "tokenizer.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.slow
def test_killed_at_random_moments_ends_with_the_same_files(recipe_file, whole_run, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    shutil.copytree(whole_run, whole, symlinks=True)
    assert _run(recipe_file, whole, None)
    draw, kills, life = random.Random(11), 0, LIFE
    through, before = False, _committed(killed)
    while kills < KILLS or not through:
        if through:  # too soon: the last stages once more
            for name in LAST_STAGES:
                path = killed / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        through = _run(recipe_file, killed, draw.uniform(0.2, 1) * life)
        kills += not through
        now = _committed(killed)
        life = max(LIFE, life / 1.5) if now != before and not through else 1.5 * life
        before = now
    undisturbed = _content(whole)
    assert len(undisturbed) > 30
    assert _content(killed) == undisturbed
    assert (killed / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    left = {path.name for path in killed.rglob(".*") if not path.is_dir()}
    assert not [name for name in left if name.endswith((".part", ".new"))]
