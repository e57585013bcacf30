"""The list of commands, and a command's name that is mistyped."""

import runpy

import pytest
from click.testing import CliRunner

from distill.cli import cli


def test_every_command_stands_under_a_heading():
    listed = [name for names in cli.headings.values() for name in names]
    assert sorted(listed) == sorted(cli.commands)


def test_help_lists_commands_in_the_order_of_work():
    said = CliRunner().invoke(cli, ["--help"]).output
    places = [said.index(f"\n  {name} ") for name in ("run", "corpus", "relabel", "train-student")]
    assert places == sorted(places)


def test_help_cuts_no_sentence():
    said = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    assert "..." not in said.partition("From a corpus")[2]
    assert "…" not in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        pytest.param(
            typed,
            meant,
            marks=pytest.mark.bad_input("command line", f"`distill {typed}`", f"names {meant}"),
        )
        for typed, meant in [
            ("trian", "'train-judge' or 'train-student'"),
            ("relable", "'relabel'"),
            ("Run", "'run'"),
            ("traim-student", "'train-student'"),
        ]
    ],
)
def test_mistyped_command_names_the_nearest_one(typed, meant):
    done = CliRunner().invoke(cli, [typed])
    assert done.exit_code == 2
    assert f"Did you mean {meant}?" in done.output


def test_word_that_is_like_no_command_names_none():
    assert "Did you mean" not in CliRunner().invoke(cli, ["xyzzy"]).output


def test_module_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m distill` serves where the command's folder is not on the PATH."""
    called: list[bool] = []
    monkeypatch.setattr("distill.cli.main", lambda: called.append(True))

    runpy.run_module("distill", run_name="__main__")

    assert called == [True]
