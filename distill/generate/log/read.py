"""Read what users asked from a log: a text file with a query a line, or a table with a column of
queries."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.packed import open_unpacked
from distill.corpus.readers.tables import detect_form, read_table
from distill.errors import UserError
from distill.files.read import decode_row, describe, describe_search, is_text
from distill.generate.log.personal_data import mask_personal_data
from distill.recipe import QueryLog
from distill.text.normalize import normalize_text
from distill.text.sanitize import sanitize_for_prompt

EMPTY = "dropped: empty"
REPEATED = "dropped: asked again"
RARE = "dropped: asked less often than min_count"
PERSONAL = "with personal data"
_USUAL = "query q question search search_term search_query keyword term text"
"""Names that people give the column of queries, the likeliest first."""


@dataclass
class LoggedQueries:
    """The different queries of a log in the order in which they were first asked, and what was left
    out of it, by reason."""

    queries: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def read_log(file: Path, settings: QueryLog) -> LoggedQueries:
    """Read the different queries of a log. Queries that differ in case, width and white space alone
    are the same one.

    Raises:
        UserError: naming file and row, for a file that cannot be read, a column that is not there
            (listing those that are) or that holds no texts; for a log with one query or none.
    """
    if not file.is_file():
        what = f"no such file{describe_search(file)}"
        raise UserError(str(file), what, "fix generate.log.path in the recipe")
    read, first, times = LoggedQueries(), dict[str, str](), Counter[str]()
    for text in _iterate_texts(file, settings):
        read.counts["read"] += 1
        query = " ".join(sanitize_for_prompt(text).split())
        masked = mask_personal_data(query) if settings.personal_data != "keep" else query
        if masked != query:
            read.counts[PERSONAL] += 1
            if settings.personal_data == "drop":
                read.counts[f"dropped: {PERSONAL}"] += 1
                continue
        key = normalize_text(masked)
        if key:
            first.setdefault(key, masked)
            times[key] += 1
        else:
            read.counts[EMPTY] += 1
    _refuse_one_query(file, first, read.counts)
    read.queries = [query for key, query in first.items() if times[key] >= settings.min_count]
    read.counts[RARE] = len(first) - len(read.queries)
    read.counts[REPEATED] = times.total() - len(first)
    if not read.queries:
        what = f"holds no query that was asked {settings.min_count} times ({len(first)} different)"
        raise UserError(str(file), what, "lower generate.log.min_count")
    return read


def _refuse_one_query(file: Path, first: dict[str, str], counts: Counter[str]) -> None:
    if len(first) > 1:
        return
    alone = next(iter(first.values()), None)
    shown = "holds no query" if alone is None else f"holds one query alone, {alone[:60]!r}"
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    raise UserError(
        str(file),
        f"{shown} ({told})",
        "give a log of different queries, or name their column in generate.log.query_column",
    )


def _iterate_texts(file: Path, settings: QueryLog) -> Iterator[str]:
    """Yield the texts of all rows; those without any are empty."""
    faults = RowFaults()
    if detect_form(file) is None:
        rows = _read_lines(file, settings, faults)
    else:
        rows = _read_column(file, settings, faults)
    for where, text in rows:
        if is_text(text):
            yield text
        else:
            what = "holds half a surrogate pair or a NUL"
            faults.add(UserError(where, what, "fix or delete the row"))
    faults.raise_any()


def _read_lines(file: Path, settings: QueryLog, faults: RowFaults) -> Iterator[tuple[str, str]]:
    if settings.query_column is not None:
        raise UserError(
            str(file),
            f"is read as a query a line, and has no column {settings.query_column!r}",
            "name it .csv, .tsv, .jsonl, .json or .parquet, or drop generate.log.query_column",
        )
    with open_unpacked(file) as source:
        for number, line in enumerate(source, 1):
            where = f"{file}, row {number}"
            try:
                yield where, decode_row(line, where).strip()
            except UserError as fault:
                faults.add(fault)


def _read_column(file: Path, settings: QueryLog, faults: RowFaults) -> Iterator[tuple[str, str]]:
    column = settings.query_column
    for number, row in read_table(file, faults):
        where = f"{file}, row {number}"
        column = column or _find_column(file, list(row))
        if number == 1 and column not in row:
            raise _explain_missing_column(file, list(row), f"has no column {column!r}")
        value: Any = row.get(column)
        if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
            yield where, "" if value is None else str(value)
        else:
            what = f"column {column!r} holds {describe(value)}"
            faults.add(UserError(where, what, "a text is expected there"))


def _find_column(file: Path, names: list[str]) -> str:
    by_name = {name.casefold(): name for name in reversed(names)}
    column = next((by_name[name] for name in _USUAL.split() if name in by_name), None)
    if column is None:
        raise _explain_missing_column(file, names, "has no column that is known to hold queries")
    return column


def _explain_missing_column(file: Path, names: list[str], what: str) -> UserError:
    return UserError(
        str(file),
        f"{what}; its columns are {names}",
        "name the right one in generate.log.query_column",
    )
