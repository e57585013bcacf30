"""Scripts of benchmarks/, run as a user would call them."""

import json
import os
import runpy
import sys
from pathlib import Path

from helpers.fresh_process import run_function

ROOT = Path(__file__).parents[2]


def run_script(script: str, *words: str) -> dict:
    """The figures that a script prints: one line of JSON."""
    (figures,) = run_lines(script, *words)
    return figures


def run_lines(script: str, *words: str) -> list[dict]:
    """The figures of a script that prints several lines."""
    done = run_function(run_as_main, script, *words, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_as_main(script: str, *words: str) -> None:
    """Run a script as `python benchmarks/SCRIPT.py WORDS` does, with the libraries imported."""
    path = ROOT / "benchmarks" / f"{script}.py"
    sys.argv = [str(path), *words]
    sys.path[:0] = [str(path.parent), str(ROOT)]
    os.chdir(ROOT)
    runpy.run_path(str(path), run_name="__main__")
