"""Rows of a run's tables as a person reads them: a query with its candidates, their scores, the
chosen positive and the negatives."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from distill.errors import UserError
from distill.inspect.query import QueryView, candidates_table, choice, chosen_passages, orders
from distill.relabel.choose import sort_by_fusion
from distill.store.integrity import check_files, read_manifest
from distill.store.shards import shards
from distill.store.stage import open_stage
from distill.store.tables import (
    CANDIDATES,
    DROPPED,
    EXAMPLES,
    LABELS,
    PASSAGES,
    QUERIES,
    TABLES,
    TEACHER_SCORES,
    Row,
    Table,
    passage_text,
    read_shard,
)
from distill.text.sanitize import sanitize_for_terminal


def tables_of(run: Path) -> dict[str, Table]:
    """The tables of a run, by folder name; `judgements-ql` is a table of judgements."""
    found = {}
    for manifest in sorted(run.glob("*/.stage/manifest.json")):
        name = manifest.parent.parent.name
        table = TABLES.get(name) or TABLES.get(name.partition("-")[0])
        if table is not None and shards(run / name):
            found[name] = table
    return found


def show_run(run: Path, console: Console) -> None:
    """What stages a run has, how far each is, and which tables can be looked at."""
    manifests = sorted(run.glob("*/.stage/manifest.json"), key=lambda p: p.stat().st_mtime)
    if not manifests:
        raise UserError(str(run), "is not a run", "name a folder that `distill run` has written")
    grid = RichTable("stage", "state", "rows", "seconds", "counted", expand=True)
    for path in manifests:
        manifest, name = read_manifest(path), path.parent.parent.name
        counts = ", ".join(f"{key} {n}" for key, n in manifest.get("counts", {}).items())
        grid.add_row(
            name,
            "complete" if manifest["complete"] else f"{len(shards(path.parent.parent))} shards",
            str(manifest.get("rows", "")),
            str(manifest.get("seconds", "")),
            Text(counts),
        )
    console.print(grid, f"tables: {', '.join(tables_of(run))}")


def show_rows(run: Path, name: str, rows: int, skip: int, console: Console) -> None:
    """Some rows of one table, field by field."""
    tables = tables_of(run)
    folder = run / name
    if name == "dropped" or name.endswith("/dropped"):
        _show_dropped(run, name.partition("/")[0], rows, skip, console)
        return
    if name not in tables:
        raise UserError(
            str(folder), "is not a table of this run", f"this run has: {', '.join(tables)}"
        )
    console.print(f"One row of {name} is {tables[name].one_row}.")
    for number, row in enumerate(
        islice(_checked_rows(tables[name], folder), skip, skip + rows), skip
    ):
        console.print(_panel(f"{name} {number}", row))


def show_query(run: Path, query_id: str, console: Console) -> None:
    """One query: its task, its candidates in the order of fusion, each ranker's order, what was
    chosen, what the teachers say of it, and the texts.

    Raises:
        UserError: if the run has no such query, or no candidates yet.
    """
    query = _find(run, QUERIES, query_id)
    if query is None:
        raise UserError(
            str(run / "queries"),
            f"has no query {query_id!r}",
            "`distill inspect RUN queries` shows ids",
        )
    candidates = _of_query(run, CANDIDATES, query_id)
    if not candidates:
        raise UserError(str(run), "has no candidates for it yet", "run `distill relabel` first")
    told = QueryView(
        query,
        _in_order(run, candidates, _of_query(run, LABELS, query_id)),
        [row for row in _rows(run, EXAMPLES) if _is_of(row["query_id"], query_id)],
        _texts(run, {row["passage_id"] for row in candidates}),
    )
    lines = [*orders(told), *choice(told, _teacher_scores(run, query_id))]
    console.print(
        _panel(f"query {query_id}", query), candidates_table(told), Group(*map(Text, lines))
    )
    for title, passage_id in chosen_passages(told):
        text = Text(sanitize_for_terminal(told.texts[passage_id]))
        console.print(Panel(text, title=Text(title), title_align="left"))


def _in_order(run: Path, candidates: list[Row], labels: list[Row]) -> list[Row]:
    """Candidates with their labels, best first by fusion; as they were retrieved, where they are
    not labelled yet."""
    if not labels:
        return candidates
    by_id = {row["passage_id"]: row for row in candidates}
    first_ranker = open_stage(run / LABELS.name).manifest["settings"]["rankers"][0]
    return [{**by_id[row["passage_id"]], **row} for row in sort_by_fusion(labels, first_ranker)]


def _teacher_scores(run: Path, query_id: str) -> list[Row]:
    """The teachers' scores of a query's examples, if they are of the examples that stand there."""
    if not (run / TEACHER_SCORES.name).exists():
        return []
    scored = open_stage(run / TEACHER_SCORES.name).manifest["inputs"].get(EXAMPLES.name)
    if scored != open_stage(run / EXAMPLES.name).fingerprint:
        return []
    return [row for row in _rows(run, TEACHER_SCORES) if _is_of(row["query_id"], query_id)]


def _is_of(example_id: str, query_id: str) -> bool:
    """Whether an example is a query's: its own or, `ID+2` and so on, one of a further positive."""
    own, _, number = example_id.rpartition("+")
    return example_id == query_id or (own == query_id and number.isdigit())


def _show_dropped(run: Path, stage: str, rows: int, skip: int, console: Console) -> None:
    pattern = "*/.stage/manifest.json" if stage == "dropped" else f"{stage}/.stage/manifest.json"
    stages = [open_stage(path.parent.parent) for path in sorted(run.glob(pattern))]
    dropped = (
        (of.name, row)
        for of in stages
        for path in check_files(of, of.list_dropped())
        for row in read_shard(DROPPED, path)
    )
    for name, row in islice(dropped, skip, skip + rows):
        console.print(_panel(f"dropped by {name}", row))


def _find(run: Path, table: Table, query_id: str) -> Row | None:
    return next(iter(_of_query(run, table, query_id)), None)


def _of_query(run: Path, table: Table, query_id: str) -> list[Row]:
    return [row for row in _rows(run, table) if row["query_id"] == query_id]


def _rows(run: Path, table: Table) -> Iterator[Row]:
    return _checked_rows(table, run / table.name)


def _checked_rows(table: Table, folder: Path) -> Iterator[Row]:
    """Every row of a stage's table, of which each shard is compared with its checksum first; none
    where the stage is not there yet."""
    if not folder.exists():
        return
    for path in check_files(open_stage(folder), shards(folder)):
        yield from read_shard(table, path)


def _texts(run: Path, wanted: set[str]) -> dict[str, str]:
    return {
        row["passage_id"]: passage_text(row)
        for row in _rows(run, PASSAGES)
        if row["passage_id"] in wanted
    }


def _panel(title: str, row: Row) -> Panel:
    lines: list[RenderableType] = []
    for name, value in row.items():
        line = Text(f"{name}: ", style="bold")
        line.append(sanitize_for_terminal(_readable(value)), style="not bold")
        lines.append(line)
    return Panel(Group(*lines), title=Text(sanitize_for_terminal(title)), title_align="left")


def _readable(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return "".join(f"\n  · {_readable(item)}" for item in value) or "(none)"
    return str(value)
