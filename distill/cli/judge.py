"""`distill judge`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from distill import api
from distill.cli.options.values import PATH
from distill.errors import UserError

if TYPE_CHECKING:
    from distill.evaluate.judged.sheet import DrawnPair, JudgingSheet, PersonVerdict

_WORDS: "dict[str, PersonVerdict | None]" = {"y": "yes", "n": "no", "s": "skip", "q": None}


@click.command()
@click.argument("folder", metavar="RUN", type=PATH)
@click.option(
    "--csv",
    "file",
    type=PATH,
    help="Write the pairs to this CSV file, to be filled in; or, where it exists, read it back.",
)
@click.option(
    "--pairs",
    default=50,
    show_default=True,
    type=click.IntRange(10, 1000),
    help="Number of pairs to judge, those that have a verdict included.",
)
def judge(folder: Path, file: Path | None, pairs: int) -> None:
    """Judge pairs of query and passage of RUN's judged pool yourself.

    Your verdicts show how far the LLM's can be trusted. The interval of "student minus teacher"
    that is computed from both is valid however badly the LLM judges. It is wide: 100 pairs rarely
    tell two similar systems apart. Stop at any time with q, and the same command continues. If the
    judged pool is the run's only task, ten verdicts or more decide the run's verdict: summary.json
    and both reports are written again.

    \b
    distill judge artifacts/mine                   pair after pair in the terminal
    distill judge artifacts/mine --csv pairs.csv   write them; fill in the column verdict with yes,
                                                   no or skip; the same command reads them back
    """
    from distill.evaluate.run_summary import read_run_summary
    from distill.report.judged import describe_judged
    from distill.report.verdict import write_headline

    console = Console()
    is_new = file is not None and not file.exists()
    results = api.judge(folder, lambda *of: _ask(console, *of), csv=file, pairs=pairs)
    if is_new:
        click.echo(f"written: {file}\nFill in its column verdict (yes, no or skip), and repeat.")
        return
    console.print(describe_judged(results), markup=False, highlight=False)
    if results.verdicts and (summary := read_run_summary(folder)) is not None:
        console.print(write_headline(summary), markup=False, highlight=False, style="bold")
        click.echo(f"written anew: summary.json and reports in {folder}")


def _ask(console: Console, sheet: "JudgingSheet", pair: "DrawnPair") -> "PersonVerdict | None":
    from distill.text.sanitize import sanitize_for_terminal

    query = sanitize_for_terminal(sheet.queries[pair.query_id])
    passage = sanitize_for_terminal(sheet.passages[pair.passage_id])
    number = len(sheet.verdicts) + 1
    console.print(Panel(Text(passage), title=f"pair {number}", title_align="left"))
    console.print(Text(f"Query: {query}", style="bold"))
    try:
        word = click.prompt(
            "Does the passage answer the query? [y]es [n]o [s]kip [q]uit",
            type=click.Choice([*_WORDS]),
            show_choices=False,
        )
    except click.Abort as stop:
        if isinstance(stop.__context__, EOFError):
            raise UserError(
                "standard input",
                f"ended before pair {number} had an answer; earlier verdicts are kept",
                "judge in a terminal, or --csv FILE",
            ) from None
        raise
    return _WORDS[word]
