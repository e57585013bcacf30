"""Rows of a run's tables as a person reads them: a query with its candidates, their scores, the
chosen positive and the negatives."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from distill.errors import UserError
from distill.run import read_json
from distill.tables import (
    CANDIDATES,
    EXAMPLES,
    LABELS,
    PASSAGES,
    QUERIES,
    TABLES,
    Row,
    Table,
    passage_text,
    read_rows,
    shards,
)

_EXCERPT = 160


def tables_of(run: Path) -> dict[str, Table]:
    """The tables of a run, by folder name; `judgements-ql` is a table of judgements."""
    found = {}
    for manifest in sorted(run.glob("*/.stage/manifest.json")):
        name = manifest.parent.parent.name
        table = TABLES.get(name.partition("-")[0])
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
        manifest, name = read_json(path), path.parent.parent.name
        counts = ", ".join(f"{key} {n}" for key, n in manifest.get("counts", {}).items())
        grid.add_row(
            name,
            "complete" if manifest["complete"] else f"{len(shards(path.parent.parent))} shards",
            str(manifest.get("rows", "")),
            str(manifest.get("seconds", "")),
            counts,
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
    for number, row in enumerate(islice(read_rows(tables[name], folder), skip, skip + rows), skip):
        console.print(_panel(f"{name} {number}", row))


def show_query(run: Path, query_id: str, console: Console) -> None:
    """One query: its task, its candidates in the order of fusion, what was chosen of them.

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
    example = _find(run, EXAMPLES, query_id)
    labels = _of_query(run, LABELS, query_id)
    candidates = {row["passage_id"]: row for row in _of_query(run, CANDIDATES, query_id)}
    if not candidates:
        raise UserError(str(run), "has no candidates for it yet", "run `distill relabel` first")
    by_id = {row["passage_id"]: row for row in labels}
    wanted = sorted(candidates, key=lambda id_: -(by_id.get(id_) or {"rrf": 0.0})["rrf"])
    texts = _texts(run, set(wanted))
    grid = RichTable("", "retriever", "QL", "RC", "RRF", "passage", show_lines=True)
    for passage_id in wanted:
        label = by_id.get(passage_id, {})
        candidate = candidates[passage_id]
        grid.add_row(
            _role(passage_id, query, example),
            f"{candidate['rank'] or 'missed'}\n{candidate['similarity']:.3f}",
            _score(label, "ql"),
            _score(label, "rc"),
            f"{label['rrf']:.3f}" if label else "",
            f"[bold]{escape(passage_id)}[/bold]\n{escape(texts[passage_id][:_EXCERPT])}",
        )
    console.print(_panel(f"query {query_id}", query), grid)


def _show_dropped(run: Path, stage: str, rows: int, skip: int, console: Console) -> None:
    from distill.tables import DROPPED, read_shard

    pattern = "*/.stage/dropped-*.parquet" if stage == "dropped" else f"{stage}/.stage/dropped-*"
    dropped = (
        (path.parent.parent.name, row)
        for path in sorted(run.glob(pattern))
        for row in read_shard(DROPPED, path)
    )
    for name, row in islice(dropped, skip, skip + rows):
        console.print(_panel(f"dropped by {name}", row))


def _role(passage_id: str, query: Row, example: Row | None) -> str:
    roles = ["seed"] if passage_id == query["seed_id"] else []
    if example is not None and passage_id == example["positive_id"]:
        roles.append("positive")
    if example is not None and passage_id in example["negative_ids"]:
        roles.append("negative")
    return "\n".join(roles)


def _score(label: Row, ranker: str) -> str:
    if label.get(ranker) is None:
        return ""
    return f"{label[f'{ranker}_rank']}\n{label[ranker]:.2f}"


def _find(run: Path, table: Table, query_id: str) -> Row | None:
    return next(iter(_of_query(run, table, query_id)), None)


def _of_query(run: Path, table: Table, query_id: str) -> list[Row]:
    return [row for row in _rows(run, table) if row["query_id"] == query_id]


def _rows(run: Path, table: Table) -> Iterator[Row]:
    return read_rows(table, run / table.name)


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
        line.append(_readable(value), style="not bold")
        lines.append(line)
    return Panel(Group(*lines), title=escape(title), title_align="left")


def _readable(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return "".join(f"\n  · {_readable(item)}" for item in value) or "(none)"
    return str(value)
