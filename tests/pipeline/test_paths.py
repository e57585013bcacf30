"""Paths that are none, as a person may write them."""

import pytest
from helpers.fresh_process import run_distill


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            words, said, marks=pytest.mark.bad_input("paths", what, "exit code 2, with the remedy")
        )
        for what, words, said in (
            ("--run s3://bucket/x", ("corpus", "--run", "s3://bucket/x"), "is an address"),
            ("--run with an empty path", ("corpus", "--run", ""), "is empty"),
            ("--run ~nobody/run", ("corpus", "--run", "~nobody-here/run"), "not known here"),
            (
                "corpus.path on https://",
                ("corpus", "--run", "r", "--source", "jsonl", "--path", "https://me:sesame@host/x"),
                "is an address",
            ),
            (
                "--out on https://",
                ("report", "r", "--out", "https://me:sesame@host/x"),
                "is an address",
            ),
        )
    ],
)
def test_paths_that_are_not_of_this_machine_are_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    told = run_distill(*words)
    assert told.returncode == 2, told.stderr
    assert said in told.stderr
    assert "remedy" in told.stderr or "name a file or folder" in told.stderr
    assert "Traceback" not in told.stderr
    assert "sesame" not in told.stderr
    assert not [path for path in tmp_path.iterdir() if path.name != "r"]
