"""What a person types wrong, and terminals that have no letter for what is shown."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from distill.cli import cli


def refused(*arguments):
    done = CliRunner().invoke(cli, arguments)
    said = done.output + str(done.exception or "")
    assert done.exit_code != 0
    return said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            arguments,
            says,
            id=name,
            marks=pytest.mark.bad_input("command line", name, f"refused: {says}"),
        )
        for name, arguments, says in [
            ("--max-tokens 0", ["evaluate", "m", "--tasks", "x", "--max-tokens", "0"], "range"),
            ("--max-tokens -1", ["evaluate", "m", "--tasks", "x", "--max-tokens", "-1"], "range"),
            ("--max-tokens 1", ["evaluate", "m", "--tasks", "x", "--max-tokens", "1"], "range"),
            (
                "--max-tokens 10^30",
                ["evaluate", "m", "--tasks", "x", "--max-tokens", "1" + "0" * 30],
                "range",
            ),
            (
                "--device toaster",
                ["evaluate", "m", "--tasks", "x", "--device", "toaster"],
                "--device",
            ),
            ("inspect --rows -1", ["inspect", "x", "--rows", "-1"], "range"),
            ("inspect --skip -1", ["inspect", "x", "--skip", "-1"], "range"),
            ("generate --passages 0", ["generate", "--passages", "0"], "range"),
            ("generate --show-prompt -1", ["generate", "--show-prompt", "-1"], "range"),
            ("estimate --sample -1", ["estimate", "--sample", "-1"], "range"),
            ("search --k 0", ["search", "x", "q", "--k", "0"], "range"),
            ("a query that is no UTF-8", ["search", "x", "\udcff"], "not UTF-8"),
            (
                "a prompt that is no UTF-8",
                ["evaluate", "m", "--tasks", "x", "--query-prompt", "\udcff"],
                "not UTF-8",
            ),
        ]
    ],
)
def test_option_that_is_refused(arguments, says):
    assert says in refused(*arguments)


@pytest.mark.parametrize("widths", ["²", "0", "-1", "1.5", "9" * 30, "64,x"])
@pytest.mark.bad_input(
    "command line", "--widths ², 0, -1, 1.5, 10^30", "refused: no list of widths"
)
def test_widths_that_are_none(widths):
    from distill.cli.evaluation import _parse_widths
    from distill.errors import UserError

    with pytest.raises(UserError, match="is no list of widths"):
        _parse_widths(widths)


def distill(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "distill.cli", *arguments],
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.bad_input("terminal", "Chinese text to ASCII or Latin-1", "shown as \\u escapes")
def test_terminal_without_the_letters(tmp_path, encoding):
    file = tmp_path / "r.yaml"
    file.write_text("name: x\ncorpus: {path: 文档.jsonl}", encoding="utf-8")
    done = distill("run", str(file), "--print-resolved", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    # click writes UTF-8 where the terminal is said to know ASCII alone.
    assert b"\\u6587" in done.stdout or "文".encode() in done.stdout


@pytest.mark.bad_input("terminal", "an error about a Chinese path to ASCII", "exit code 2, escaped")
def test_error_reaches_any_terminal(tmp_path):
    (tmp_path / "r.yaml").write_text(json.dumps({"name": "x"}))
    done = distill(
        "corpus",
        str(tmp_path / "r.yaml"),
        "--path",
        str(tmp_path / "没有"),
        "--run",
        str(tmp_path / "run"),
        PYTHONIOENCODING="ascii",
        PYTHONUTF8="0",
    )
    assert done.returncode == 2, done.stderr
    assert b"\\u6ca1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            arguments,
            says,
            id=name,
            marks=pytest.mark.bad_input("path", name, f"exit code 2: {says}"),
        )
        for name, arguments, says in [
            ("corpus --run FILE", ["corpus", "--run", "file"], "file: is in the way"),
            ("corpus --run FILE/x", ["corpus", "--run", "file/x"], "a folder is expected"),
            ("corpus --run '300 letters'", ["corpus", "--run", "n" * 300], "longer than the disk"),
            ("corpus --run ''", ["corpus", "--run", ""], "is empty"),
            ("corpus --run s3://b/x", ["corpus", "--run", "s3://b/x"], "is an address"),
            ("corpus --run ~nobody/x", ["corpus", "--run", "~nobody-here/x"], "not known here"),
            ("report '300 letters'", ["report", "n" * 300], "longer than the disk"),
            ("run FOLDER", ["run", "folder"], "is a folder, not a file"),
        ]
    ],
)
def test_path_that_cannot_be_ends_with_exit_code_2(tmp_path, monkeypatch, capsys, arguments, says):
    import distill.cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "docs.jsonl").write_text('{"text": "one two three four five six"}\n')
    if arguments[0] == "corpus":
        arguments = [*arguments, "--path", "docs.jsonl"]
    monkeypatch.setattr(sys, "argv", ["distill", *arguments])
    monkeypatch.setattr(distill.cli, "configure_logging", lambda: None)
    monkeypatch.setattr(distill.cli, "end_soon_after_sigterm", lambda: None)
    with pytest.raises(SystemExit) as ended:
        distill.cli.main()
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs.jsonl", "file", "folder"]
