"""`distill report`: a run as one page."""

from pathlib import Path

import click

from distill.cli.options import PATH


@click.command()
@click.argument("folder", metavar="RUN", type=PATH)
@click.option("--out", type=PATH, help="Where the page goes.  [default: RUN/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """Write what became of RUN as one HTML file: verdict, training, data, relabelling, lineage.

    The file can be mailed or printed as it is; it asks for nothing over a network.

    \b
    Example:  distill report artifacts/demo
    """
    from distill.report.html import write_html

    click.echo(f"report: {write_html(folder, out)}")
