"""The generated queries: how long, of which kind, how often copied or alike; and some
of them to read with their passages."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from markupsafe import Markup

from distill.errors import UserError
from distill.generate.filters.copied_text import compute_copied_share
from distill.generate.filters.duplicates import QueryDeduplicator
from distill.report import numbers
from distill.report.cells import Cell, Grid
from distill.report.plots.lengths import draw_lengths
from distill.report.run_data import RunData
from distill.store.passages import PassageReader
from distill.store.tables import QUERIES, Row, join_passage, read_rows
from distill.text.words import count_words

SHOWN = 20
_EXAMINED = 1000
"""Queries, evenly over the run, whose passages are read: a report takes seconds."""
_COPIED = 0.5
_NEAR = 0.8
_QUESTION_MARKS = ("?", "？", "؟", "፧", "՞")
_QUESTION_WORDS = frozenset(
    "what which who whom whose when where why how is are was were do does did can could should "  # noqa: SIM905
    "would will has have".split()
)
_FEW_WORDS = 3
_NO_PASSAGE = {"passage_id": "", "title": "", "text": ""}
"""Of a query of a log: nobody knows which passage answers it."""


@dataclass(frozen=True)
class QuerySection:
    """`shares`: label and figure. `queries` have text, task, passage id, title and passage."""

    shares: list[tuple[str, str]]
    forms: Grid
    task_types: Grid | None
    lengths: Markup | None
    queries: list[dict[str, str]]
    count: int


def make_query_sample(run_data: RunData) -> QuerySection | None:
    """Return the section; None for a run without generated queries, or whose tables cannot be
    read."""
    if not {"passages", "queries"} <= run_data.complete.keys():
        return None
    count = run_data.complete["queries"]["rows"]
    examined = _read_evenly(run_data.folder / "queries", count, _EXAMINED)
    if not examined:
        return None
    seeded = [row for row in examined if row["seed_id"]]  # the others are of a log
    try:
        passages = PassageReader(run_data.folder / "passages").find({r["seed_id"] for r in seeded})
    except UserError:
        return None
    rows = {id_: passage.row for id_, passage in passages.items()} | {"": _NO_PASSAGE}
    texts = [join_passage(rows[row["seed_id"]]) for row in seeded]
    return QuerySection(
        shares=_measure_shares(run_data, examined, seeded, texts),
        forms=_count(
            "Form of the queries", "form", [_classify_form(row["query"]) for row in examined]
        ),
        task_types=_count_task_types(examined),
        lengths=draw_lengths(
            {
                "queries": [count_words(row["query"]) for row in examined],
                "their passages": [count_words(text) for text in texts],
            }
        ),
        queries=[_describe(row, rows[row["seed_id"]]) for row in _pick_evenly(examined, SHOWN)],
        count=count,
    )


def _read_evenly(folder: Path, count: int, most: int) -> list[Row]:
    """Return at most so many rows, evenly over the table, of which one shard is in memory at a
    time."""
    wanted = {number * count // most for number in range(most)} if count > most else None
    rows = enumerate(read_rows(QUERIES, folder))
    return [row for number, row in rows if wanted is None or number in wanted]


def _pick_evenly(rows: Sequence[Row], most: int) -> list[Row]:
    if len(rows) <= most:
        return list(rows)
    return [rows[number * len(rows) // most] for number in range(most)]


def _describe(row: Row, passage: Row) -> dict[str, str]:
    return {
        "query": row["query"],
        "task": row["task"],
        "passage_id": passage["passage_id"],
        "title": passage["title"],
        "text": passage["text"],
    }


def _measure_shares(
    run_data: RunData, examined: Sequence[Row], seeded: Sequence[Row], texts: Sequence[str]
) -> list[tuple[str, str]]:
    """Measure the examined queries; `seeded`: those with a seed passage, of which `texts` are."""
    passages, used = run_data.complete["passages"]["rows"], _count_seeds(run_data)
    copied = sum(
        compute_copied_share(row["query"], text) > _COPIED
        for row, text in zip(seeded, texts, strict=True)
    )
    figures = [
        ("queries", numbers.format_whole(run_data.complete["queries"]["rows"])),
        ("passages that queries were written for", _format_share(used, passages)),
        (
            "exact or near duplicates (similarity 0.8)",
            _format_share(_count_near(examined), len(examined)),
        ),
        ("more than half copied from the passage", _format_share(copied, len(seeded))),
    ]
    if len(examined) < run_data.complete["queries"]["rows"]:
        figures.append(("looked at for these", numbers.format_whole(len(examined))))
    return figures


def _count_seeds(run_data: RunData) -> int:
    return len({row["seed_id"] for row in read_rows(QUERIES, run_data.folder / "queries")} - {""})


def _format_share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / max(1, whole):.1%})"


def _count_near(examined: Sequence[Row]) -> int:
    """Count the queries that repeat an earlier one of those examined."""
    repeated = 0
    with (
        TemporaryDirectory() as folder,
        QueryDeduplicator(Path(folder) / "seen.sqlite", exact=True, near=_NEAR) as seen,
    ):
        for number, row in enumerate(examined):
            if seen.find_reason(row["query"], number):
                repeated += 1
            else:
                seen.add(row["query"], number)
    return repeated


def _count_task_types(examined: Sequence[Row]) -> Grid | None:
    """Count the queries by task type; None where all are of one type."""
    types = [(row["task_type"] or numbers.NONE).replace("_", " ") for row in examined]
    return _count("Tasks of the queries", "task", types) if len(set(types)) > 1 else None


def _count(caption: str, label: str, values: Sequence[str]) -> Grid:
    rows = [
        [
            Cell(value),
            Cell(numbers.format_whole(count), count),
            Cell(numbers.format_share(count / len(values)), count, bar=count / len(values)),
        ]
        for value, count in Counter(values).most_common()
    ]
    return Grid(caption, [label, "queries", "share"], rows, ["queries", "share"])


def _classify_form(query: str) -> str:
    """Return whether a query is a question, a few keywords, or a statement; question words are
    English alone."""
    first = query.split(maxsplit=1)[0].casefold() if query.split() else ""
    if query.rstrip().endswith(_QUESTION_MARKS) or first in _QUESTION_WORDS:
        return "question"
    return "keywords (up to 3 words)" if count_words(query) <= _FEW_WORDS else "phrase or statement"
