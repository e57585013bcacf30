"""A judging sheet as a CSV file, to be filled in and read back."""

import csv
import io
from pathlib import Path

from distill.corpus.faults import RowFaults
from distill.corpus.readers.csv_files import read_csv
from distill.errors import UserError
from distill.evaluate.judged.sheet import VERDICTS, JudgingSheet, PersonVerdict
from distill.files.atomic import commit_bytes

COLUMNS = ("query_id", "passage_id", "query", "passage", "verdict")
_REMEDY = (
    "fill in the file that `distill judge RUN --csv FILE` wrote, and leave its ids as they are"
)


def write_sheet(sheet: JudgingSheet, path: Path, count: int) -> int:
    """Write the first `count` pairs with their verdicts so far, and return how many there are."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for pair in sheet.pairs[:count]:
        verdict = sheet.verdicts.get((pair.query_id, pair.passage_id), "")
        query, passage = sheet.queries[pair.query_id], sheet.passages[pair.passage_id]
        rows.writerow([pair.query_id, pair.passage_id, query, passage, verdict])
    # With a mark by which spreadsheets know UTF-8.
    commit_bytes(path, text.getvalue().encode("utf-8-sig"))
    return min(count, len(sheet.pairs))


def read_sheet(sheet: JudgingSheet, path: Path) -> int:
    """Take the verdicts of a file that was filled in into the sheet, and return their number. An
    empty one is none.

    Raises:
        UserError: naming the rows, for a pair that was not drawn or is there twice, or a verdict
            other than yes, no and skip; nothing is then taken.
    """
    faults, new = RowFaults(), dict[tuple[str, str], PersonVerdict]()
    known = {(pair.query_id, pair.passage_id) for pair in sheet.pairs}
    for number, row in read_csv(path, faults):
        where = f"{path}, row {number}"
        missing = [column for column in ("query_id", "passage_id", "verdict") if column not in row]
        if missing:
            raise UserError(str(path), f"has no column {missing[0]!r}", _REMEDY)
        pair = (row["query_id"], row["passage_id"])
        word = row["verdict"].strip().lower()
        verdict = next((one for one in VERDICTS if word and one.startswith(word)), None)
        if pair not in known:
            faults.add(UserError(where, f"{pair} is no pair of this run's pool", _REMEDY))
        elif pair in new:
            faults.add(UserError(where, f"{pair} has a verdict already", "leave one of them"))
        elif word and verdict is None:
            what = f"{row['verdict'][:40]!r} is no verdict"
            faults.add(UserError(where, what, f"write one of {', '.join(VERDICTS)}, or nothing"))
        elif verdict is not None:
            new[pair] = verdict
    faults.raise_any()
    sheet.verdicts.update(new)
    sheet.save()
    return len(new)
