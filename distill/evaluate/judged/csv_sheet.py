"""A judging sheet as a CSV file, to be filled in and read back."""

import csv
import io
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.csv_files import read_csv
from distill.errors import UserError
from distill.evaluate.judged.collection import PairId
from distill.evaluate.judged.sheet import VERDICTS, JudgingSheet, PersonVerdict
from distill.files.atomic import commit_bytes, read_json, write_json

_log = logging.getLogger(__name__)
COLUMNS = ("query_id", "passage_id", "query", "passage", "verdict")
_FILES = "csv-files.json"
"""By path of a CSV file: the pairs whose cells held a verdict when it was last read or written."""
_REMEDY = (
    "fill in the file that `distill judge RUN --csv FILE` wrote, and leave its ids as they are"
)


def write_sheet(sheet: JudgingSheet, path: Path, count: int) -> int:
    """Write the first `count` pairs with their verdicts so far, and return how many there are."""
    pairs = [(pair.query_id, pair.passage_id) for pair in sheet.pairs[:count]]
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for query, passage in pairs:
        verdict = sheet.verdicts.get((query, passage), "")
        rows.writerow([query, passage, sheet.queries[query], sheet.passages[passage], verdict])
    # With a mark by which spreadsheets know UTF-8.
    commit_bytes(path, text.getvalue().encode("utf-8-sig"))
    _keep_filled(sheet, path, [pair for pair in pairs if pair in sheet.verdicts])
    return len(pairs)


def read_sheet(sheet: JudgingSheet, path: Path) -> int:
    """Take the verdicts of a file that was filled in into the sheet, and return their number.

    A cell that held a verdict when this file was last read or written, and is empty now, takes the
    verdict back. A cell that was empty all along says nothing: the pair may have been judged in the
    terminal, or in another file.

    Raises:
        UserError: naming the rows, for a pair that was not drawn or is there twice, or a verdict
            other than yes, no and skip; nothing is then taken.
    """
    faults, new, cleared = RowFaults(), dict[PairId, PersonVerdict](), set[PairId]()
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
        elif pair in new or pair in cleared:
            faults.add(UserError(where, f"{pair} stands there twice", "leave one of them"))
        elif word and verdict is None:
            what = f"{row['verdict'][:40]!r} is no verdict"
            faults.add(UserError(where, what, f"write one of {', '.join(VERDICTS)}, or nothing"))
        elif verdict is not None:
            new[pair] = verdict
        else:
            cleared.add(pair)
    faults.raise_any()
    taken_back = cleared & _read_filled(sheet, path) & sheet.verdicts.keys()
    for pair in taken_back:
        del sheet.verdicts[pair]
    sheet.verdicts.update(new)
    sheet.save()
    _keep_filled(sheet, path, new)
    if taken_back:
        _log.warning("%s: verdicts on %d pairs are taken back", path, len(taken_back))
    return len(new)


def _keep_filled(sheet: JudgingSheet, path: Path, pairs: Iterable[PairId]) -> None:
    """Keep which cells of the file hold a verdict."""
    known = _read_files(sheet) | {str(path.resolve()): sorted(pairs)}
    write_json(sheet.folder / _FILES, known)


def _read_filled(sheet: JudgingSheet, path: Path) -> set[PairId]:
    pairs = _read_files(sheet).get(str(path.resolve()), [])
    return {(query, passage) for query, passage in pairs}


def _read_files(sheet: JudgingSheet) -> dict[str, Any]:
    file = sheet.folder / _FILES
    files: dict[str, Any] = read_json(file) if file.is_file() else {}
    return files
