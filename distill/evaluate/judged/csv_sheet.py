"""A judging sheet as a CSV file, to be filled in, mostly in a spreadsheet, and read back.

A spreadsheet turns ids such as `0012` and `1-2` into numbers and dates, and takes a text that
begins with `=` for a formula. So each row has a key that stays as it is, by which the pair is
known, and other cells, which a person alone reads, begin with an apostrophe where they need to.
"""

import csv
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.csv_files import read_csv
from distill.errors import UserError
from distill.evaluate.judged.collection import PairId
from distill.evaluate.judged.sheet import VERDICTS, JudgingSheet, PersonVerdict
from distill.files.atomic import commit_bytes, read_json, write_json

_log = logging.getLogger(__name__)
COLUMNS = ("key", "query_id", "passage_id", "query", "passage", "verdict")
_FILES = "csv-files.json"
"""By path of a CSV file: the pairs whose cells held a verdict when it was last read or written."""
_REMEDY = (
    "fill in the file that `distill judge RUN --csv FILE` wrote, and leave its keys as they are"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with, in one spreadsheet or another."""


def write_sheet(sheet: JudgingSheet, path: Path, count: int) -> int:
    """Write the first `count` pairs with their verdicts so far, and with those on the same pairs of
    earlier pools, and return how many pairs there are."""
    pairs = [(pair.query_id, pair.passage_id) for pair in sheet.pairs[:count]]
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for number, (query, passage) in enumerate(pairs, 1):
        verdict = sheet.verdicts.get((query, passage)) or sheet.recall((query, passage)) or ""
        told = (query, passage, sheet.queries[query], sheet.passages[passage])
        rows.writerow([_make_key(number, (query, passage)), *map(_quote_formula, told), verdict])
    # With a mark by which spreadsheets know UTF-8.
    commit_bytes(path, text.getvalue().encode("utf-8-sig"))
    _keep_filled(sheet, path, [pair for pair in pairs if pair in sheet.verdicts])
    return len(pairs)


def read_sheet(sheet: JudgingSheet, path: Path) -> int:
    """Take the verdicts of a file that was filled in into the sheet, and return their number. Files
    of earlier versions have no keys: there a pair is known by its ids.

    A cell that held a verdict when this file was last read or written, and is empty now, takes the
    verdict back. A cell that was empty all along says nothing: the pair may have been judged in the
    terminal, or in another file. Verdicts on earlier pools that the file was written with count
    as far as the person has come; see `JudgingSheet.recall`.

    Raises:
        UserError: naming the rows, for a pair that was not drawn or is there twice, or a verdict
            other than yes, no and skip; nothing is then taken.
    """
    faults, new, cleared = RowFaults(), dict[PairId, PersonVerdict](), set[PairId]()
    pairs = [(pair.query_id, pair.passage_id) for pair in sheet.pairs]
    known: dict[str | PairId, PairId] = {pair: pair for pair in pairs}
    known |= {_make_key(number, pair): pair for number, pair in enumerate(pairs, 1)}
    for number, row in read_csv(path, faults):
        where = f"{path}, row {number}"
        if not any(map(str.strip, row.values())):
            continue
        needed = ("key", "verdict") if "key" in row else ("query_id", "passage_id", "verdict")
        missing = [column for column in needed if column not in row]
        if missing:
            raise UserError(str(path), f"has no column {missing[0]!r}", _REMEDY)
        named = row["key"].strip() if "key" in row else (row["query_id"], row["passage_id"])
        pair = known.get(named)
        word = row["verdict"].strip().lower()
        verdict = next((one for one in VERDICTS if word and one.startswith(word)), None)
        if pair is None:
            faults.add(UserError(where, f"{named!r} is no pair of this run's pool", _REMEDY))
        elif pair in new or pair in cleared:
            faults.add(UserError(where, f"{named!r} stands there twice", "leave one of them"))
        elif word and verdict is None:
            what = f"{row['verdict'][:40]!r} is no verdict"
            faults.add(UserError(where, what, f"write one of {', '.join(VERDICTS)}, or nothing"))
        elif verdict is not None:
            new[pair] = verdict
        else:
            cleared.add(pair)
    faults.raise_any()
    come = pairs[: _count_seen(sheet, pairs, new)]
    new = {pair: new[pair] for pair in come if pair in new}
    taken_back = cleared & _read_filled(sheet, path) & sheet.verdicts.keys()
    for pair in taken_back:
        del sheet.verdicts[pair]
    sheet.verdicts.update(new)
    sheet.save()
    _keep_filled(sheet, path, new)
    if taken_back:
        _log.warning("%s: verdicts on %d pairs are taken back", path, len(taken_back))
    return len(new)


def _count_seen(
    sheet: JudgingSheet, pairs: Sequence[PairId], new: Mapping[PairId, PersonVerdict]
) -> int:
    """Count the pairs that the person has come to: up to the last verdict that is none of an
    earlier pool, or up to the first empty cell."""
    own = [
        number
        for number, pair in enumerate(pairs, 1)
        if pair in new and (pair in sheet.verdicts or sheet.recall(pair) != new[pair])
    ]
    filled = next((n for n, pair in enumerate(pairs) if pair not in new), len(pairs))
    return max([filled, *own])


def _make_key(number: int, pair: PairId) -> str:
    """Make a pair's key, such as p0001-3f9a: its place in the order of the draw, and four digits
    that no pair of another pool has there, but by chance."""
    digest = hashlib.sha256("\n".join(pair).encode()).hexdigest()
    return f"p{number:04d}-{digest[:4]}"


def _quote_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


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
