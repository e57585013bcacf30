"""The verdict of a comparison on the screen and as an exit code."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from distill.evaluate.summary import Summary
    from distill.report.facts import Fact

FAILURE = 1
"""The exit code where the verdict is the one that `--fail-if` names. Bad input ends with 2."""

FAIL_IF = click.option(
    "--fail-if",
    type=click.Choice(["worse", "not-better"]),
    help="Exit with code 1 if the student is worse than its base, or is not shown to be better; "
    "without a base, than the teacher.",
)


def print_summary(summary: "Summary", notes: "Sequence[Fact]" = ()) -> None:
    """Print a comparison: the verdict, its tables, and the facts that it rests on.

    Args:
        notes: facts of the run beside those of the comparison.
    """
    from distill.report.facts import list_facts
    from distill.report.score_tables import WIDTH, render
    from distill.report.verdict import write_headline

    console = Console()
    console.print(write_headline(summary), markup=False, highlight=False, style="bold")
    console.print()
    console.print(render(summary))
    console.print(Constrain(_make_list([*list_facts(summary), *notes]), WIDTH))


def _make_list(facts: "Sequence[Fact]") -> Table:
    """Make a list of two columns, the label beside what there is to say."""
    listed = Table.grid(padding=(0, 2, 0, 0))
    listed.add_column(max_width=26)
    listed.add_column(ratio=1)
    for label, told in facts:
        listed.add_row(Text(label, style="bold"), Text(told))
    return listed


def exit_on_verdict(summary: "Summary", fail_if: str | None) -> None:
    """End the process with `FAILURE` where the verdict is what `--fail-if` names."""
    from distill.evaluate.verdict import get_verdict

    kind = get_verdict(summary)["kind"]
    failing = {"worse": kind == "worse", "not-better": kind != "better"}
    if fail_if is not None and failing[fail_if]:
        click.echo(f"The verdict is {kind!r}, as --fail-if {fail_if} names.", err=True)
        sys.exit(FAILURE)
