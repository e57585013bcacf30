"""A person's verdicts on a run's judged pool: `judge`."""

import logging
from collections.abc import Callable
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

from distill.api.results import RunOrPath
from distill.errors import UserError
from distill.files.read import parse_path

if TYPE_CHECKING:
    from distill.evaluate.judged.results import JudgedResults
    from distill.evaluate.judged.sheet import DrawnPair, JudgingSheet, PersonVerdict

    AskPerson = Callable[[JudgingSheet, DrawnPair], PersonVerdict | None]
    """Shows a pair and returns the person's verdict; None to stop."""

_log = logging.getLogger(__name__)
PAIRS = 50


def judge(
    run: RunOrPath,
    ask: "AskPerson | None" = None,
    *,
    csv: str | Path | None = None,
    pairs: int = PAIRS,
) -> "JudgedResults":
    """Take a person's verdicts on pairs of a run's judged pool, and return what they say of student
    and teacher. The verdicts stay in the run; a pair that has one is not asked again, nor is one
    with the same texts as a pair of an earlier pool. With ten verdicts or more the run's verdict is
    theirs: its summary and reports are written anew.

    >>> results = judge("runs/mine", csv="filled-in.csv")  # doctest: +SKIP
    >>> results.difference.low, results.difference.high  # doctest: +SKIP
    (-0.31, 0.12)

    Args:
        ask: asked for each pair without a verdict; None asks nobody.
        csv: a file that was filled in, whose verdicts are taken; one that is not there is written
            with the first pairs, to be filled in.
        pairs: how many pairs are asked for, or written, in the order in which they were drawn.

    Raises:
        UserError: if the run has no judged pool, or naming the rows of the file at fault.
    """
    from distill.evaluate.judged.csv_sheet import read_sheet, write_sheet
    from distill.evaluate.judged.results import read_results
    from distill.evaluate.judged.sheet import open_sheet
    from distill.store.run import Run

    folder = parse_path(fspath(run))
    if not folder.is_dir():
        raise UserError(str(folder), "is not a run", "name a folder that `distill run` has written")
    with Run(folder):
        sheet = open_sheet(folder)
        before = len(sheet.verdicts)
        file = None if csv is None else parse_path(fspath(csv))
        if file is not None and not file.exists():
            write_sheet(sheet, file, pairs)
        elif file is not None:
            read_sheet(sheet, file)
        elif ask is not None:
            _ask_for_open(sheet, ask, pairs)
        if before or sheet.verdicts:
            _renew_results(folder)
        results = read_results(folder)
    assert results is not None
    return results


def _ask_for_open(sheet: "JudgingSheet", ask: "AskPerson", count: int) -> None:
    """Ask for the pairs without a verdict, in their order; one that has a verdict in an earlier
    pool of the run takes that."""
    recalled = 0
    for pair in sheet.list_open(count):
        known = sheet.recall((pair.query_id, pair.passage_id))
        recalled += known is not None
        verdict = known or ask(sheet, pair)
        if verdict is None:
            break
        sheet.verdicts[pair.query_id, pair.passage_id] = verdict
        sheet.save()
    if recalled:
        _log.info("%d pairs have the verdict that they had in an earlier pool", recalled)


def _renew_results(folder: Path) -> None:
    """Write the run's summary and reports anew, by the verdicts that there are; a page that cannot
    be written stays, with a warning."""
    from distill.evaluate.run_summary import read_run_summary
    from distill.evaluate.summary import write_summary
    from distill.report.html import write_html
    from distill.report.markdown.report import write_report

    summary = read_run_summary(folder)
    if summary is None:
        _log.warning(
            "%s: the student was made anew since the evaluation; `distill run` evaluates it, and "
            "then the verdict takes these verdicts up",
            folder,
        )
        return
    write_summary(folder / "summary.json", summary)
    try:
        write_report(folder, in_run=True)
        write_html(folder, in_run=True)
    except UserError as fault:
        _log.warning("the report is as before: %s; then: distill report %s", fault, folder)
