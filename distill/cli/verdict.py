"""The verdict of a comparison on the screen and as an exit code."""

import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console

if TYPE_CHECKING:
    from distill.evaluate.summary import Summary

FAILURE = 1
"""The exit code where the verdict is the one that `--fail-if` names. Bad input ends with 2."""

FAIL_IF = click.option(
    "--fail-if",
    type=click.Choice(["worse", "not-better"]),
    help="Exit with code 1 if the student is worse than its base, or is not shown to be better; "
    "without a base, than the teacher.",
)


def print_summary(summary: "Summary") -> None:
    """Print a comparison: the verdict, its tables, and the verdict's figures in words."""
    from distill.report.score_tables import render
    from distill.report.verdict import write_headline, write_verdict

    console = Console()
    console.print(write_headline(summary), markup=False, highlight=False, style="bold")
    console.print()
    console.print(render(summary))
    console.print(write_verdict(summary), markup=False, highlight=False)


def exit_on_verdict(summary: "Summary", fail_if: str | None) -> None:
    """End the process with `FAILURE` where the verdict is what `--fail-if` names."""
    from distill.evaluate.verdict import get_verdict

    kind = get_verdict(summary)["kind"]
    failing = {"worse": kind == "worse", "not-better": kind != "better"}
    if fail_if is not None and failing[fail_if]:
        click.echo(f"The verdict is {kind!r}, as --fail-if {fail_if} names.", err=True)
        sys.exit(FAILURE)
