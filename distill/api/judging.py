"""A person's verdicts on a run's judged pool: `judge`."""

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

PAIRS = 50


def judge(
    run: RunOrPath,
    ask: "AskPerson | None" = None,
    *,
    csv: str | Path | None = None,
    pairs: int = PAIRS,
) -> "JudgedResults":
    """Take a person's verdicts on pairs of a run's judged pool, and return what they say of student
    and teacher. The verdicts stay in the run; a pair that has one is not asked again.

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
        if csv is not None:
            file = parse_path(fspath(csv))
            if file.exists():
                read_sheet(sheet, file)
            else:
                write_sheet(sheet, file, pairs)
        elif ask is not None:
            for pair in sheet.list_open(pairs):
                verdict = ask(sheet, pair)
                if verdict is None:
                    break
                sheet.verdicts[pair.query_id, pair.passage_id] = verdict
                sheet.save()
        results = read_results(folder)
    assert results is not None
    return results
