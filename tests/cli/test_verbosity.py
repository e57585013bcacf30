"""`--quiet`, `--verbose` and the log of a run, as a person sees them."""

import json

import pytest
from helpers.fresh_process import run_distill


@pytest.mark.slow
def test_run_says_where_it_is_and_writes_a_log(whole_run, recipe_file, tmp_path):
    assert "[1/" in whole_run.with_name("said").read_text()
    lines = [json.loads(line) for line in (whole_run / "log.jsonl").read_text().splitlines()]
    assert lines[0]["message"] == "command begun"
    assert lines[-1]["message"] == "command ended"
    stages = {line.get("stage") for line in lines}
    assert {"generations", "judgements-ql", "train"} <= stages

    quiet = run_distill("corpus", str(recipe_file), "--run", str(tmp_path / "other"), "--quiet")
    assert quiet.returncode == 0, quiet.stderr
    assert quiet.stderr == ""
    assert "passages" in quiet.stdout


def test_verbose_shows_where_an_error_arose(tmp_path):
    words = ("run", str(tmp_path / "none.yaml"))
    plain, verbose = run_distill(*words), run_distill(*words, "--verbose")
    assert plain.returncode == verbose.returncode == 2
    assert "Traceback" not in plain.stderr
    assert "Traceback" in verbose.stderr
    assert plain.stderr.strip() in verbose.stderr
