"""A run on a disk that cannot be written: what only reads works, all else is refused with the way
out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.fresh_process import run_distill
from helpers.label_rows import OF_TEXTS, make_label, make_query, prepare_labels

from distill.store.run import Run


@pytest.fixture
def read_only_run(tmp_path: Path, encoder_folder: Path) -> Iterator[Path]:
    """As a person who may write everything finds it, on a disk mounted for reading alone; as
    anybody else, in a folder without the right to write."""
    folder = tmp_path / "run"
    with Run(folder) as opened:
        prepare_labels(opened, [make_query("q")], [[make_label("a", 1.0, 1)]], OF_TEXTS)
    shutil.copytree(encoder_folder, folder / "student")
    recipe = yaml.safe_dump({"name": "bees", "train": {"device": "cpu"}})
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    for options in (["--bind"], ["-o", "remount,ro,bind"]):
        command = ["mount", *options, str(folder), str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this user may mount nothing, and may write everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.bad_input("disk", "a run that cannot be written", "read; else refused with the reason")
def test_reading_commands_work_on_a_run_that_cannot_be_written(read_only_run, tmp_path):
    page = tmp_path / "page.html"
    for command in (
        ("inspect", str(read_only_run)),
        ("inspect", str(read_only_run), "passages"),
        ("report", str(read_only_run), "--out", str(page)),
        ("search", str(read_only_run), "bees dance"),
    ):
        done = run_distill(*command)
        assert done.returncode == 0, done.stderr
    assert page.is_file()
    for command in (
        ("report", str(read_only_run)),
        ("corpus", "--run", str(read_only_run)),
        ("export", str(read_only_run), "--out", str(read_only_run / "export")),
    ):
        done = run_distill(*command)
        assert done.returncode == 2, (command, done.stderr)
        assert "Traceback" not in done.stderr
        assert "remedy" in done.stderr
