"""Rows of a run's tables as a person reads them: a query with its candidates, their scores, the
chosen positive and the negatives."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from distill.errors import UserError
from distill.inspect.query import (
    QueryView,
    build_candidates_table,
    describe_choice,
    describe_orders,
    list_chosen_passages,
)
from distill.relabel.choose import sort_by_fusion
from distill.store.integrity import check_files, order_counts, read_manifest
from distill.store.shards import list_shards
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
    join_passage,
    read_shard,
)
from distill.text.sanitize import sanitize_for_terminal


def list_tables(run: Path) -> dict[str, Table]:
    """List the tables of a run, by folder name; `judgements-ql` is a table of judgements."""
    tables = {}
    for manifest in sorted(run.glob("*/.stage/manifest.json")):
        name = manifest.parent.parent.name
        table = TABLES.get(name) or TABLES.get(name.partition("-")[0])
        if table is not None and list_shards(run / name):
            tables[name] = table
    return tables


def _list_manifests(run: Path) -> list[Path]:
    """List the manifests of a run's stages, by the stages' names.

    Raises:
        UserError: if the folder is no run.
    """
    manifests = sorted(run.glob("*/.stage/manifest.json"))
    if not manifests:
        raise UserError(str(run), "is not a run", "name a folder that `distill run` has written")
    return manifests


def show_run(run: Path, console: Console) -> None:
    """Show what stages a run has, how far each is, and which tables can be looked at."""
    manifests = sorted(_list_manifests(run), key=lambda p: p.stat().st_mtime)
    grid = RichTable("stage", "state", "rows", "seconds", "counted", expand=True)
    for path in manifests:
        manifest, name = read_manifest(path), path.parent.parent.name
        told = [
            ", ".join(f"{key} {n}" for key, n in order_counts(manifest.get("counts", {})).items())
        ]
        told += [_describe_execution(manifest.get("execution", {}))]
        grid.add_row(
            name,
            "complete"
            if manifest["complete"]
            else f"{len(list_shards(path.parent.parent))} shards",
            str(manifest.get("rows", "")),
            str(manifest.get("seconds", "")),
            Text("\n".join(filter(None, told))),
        )
    console.print(grid, f"tables: {', '.join(list_tables(run))}")


def _describe_execution(execution: Mapping[str, Any]) -> str:
    """Describe who made a stage's shards, and how often something went wrong; empty for the process
    that writes the run."""
    words = {
        "workers": "workers",
        "workers_lost": "lost",
        "batches_tried_again": "batches tried again",
        "batches_taken_over": "batches taken over",
    }
    told = [f"{execution[key]} {what}" for key, what in words.items() if execution.get(key)]
    told += [
        f"on {', '.join(execution[key])}" for key in ("nodes", "devices") if execution.get(key)
    ]
    return f"by {execution.get('on', 'others')}: {', '.join(told)}" if execution else ""


def show_rows(run: Path, name: str, rows: int, skip: int, console: Console) -> None:
    """Show some rows of one table, field by field.

    Raises:
        UserError: if the folder is no run, or has no such table or stage.
    """
    _list_manifests(run)
    tables = list_tables(run)
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
        islice(_read_checked(tables[name], folder), skip, skip + rows), skip
    ):
        console.print(_build_panel(f"{name} {number}", row))


def show_query(run: Path, query_id: str, console: Console) -> None:
    """Show one query: its task, its candidates in the order of fusion, each ranker's order, what
    was chosen, what the teachers say of it, and the texts.

    Raises:
        UserError: if the run has no such query, or no candidates yet.
    """
    query = _find_row(run, QUERIES, query_id)
    if query is None:
        raise UserError(
            str(run / "queries"),
            f"has no query {query_id!r}",
            "`distill inspect RUN queries` shows ids",
        )
    candidates = _read_query_rows(run, CANDIDATES, query_id)
    if not candidates:
        raise UserError(str(run), "has no candidates for it yet", "run `distill relabel` first")
    # While relabelling is not at its end, labels or examples may be of earlier candidates.
    are_labelled = _is_made_from(run, LABELS, CANDIDATES)
    are_chosen = are_labelled and _is_made_from(run, EXAMPLES, LABELS)
    examples = _read_table(run, EXAMPLES) if are_chosen else []
    labels = _read_query_rows(run, LABELS, query_id) if are_labelled else []
    view = QueryView(
        query,
        _order_candidates(run, candidates, labels),
        [row for row in examples if _is_example_of(row["query_id"], query_id)],
        _read_texts(run, {row["passage_id"] for row in candidates}),
    )
    lines = [*describe_orders(view), *describe_choice(view, _read_teacher_scores(run, query_id))]
    console.print(
        _build_panel(f"query {query_id}", query),
        build_candidates_table(view),
        Group(*map(Text, lines)),
    )
    for title, passage_id in list_chosen_passages(view):
        text = Text(sanitize_for_terminal(view.texts[passage_id]))
        console.print(Panel(text, title=Text(title), title_align="left"))


def _order_candidates(run: Path, candidates: list[Row], labels: list[Row]) -> list[Row]:
    """Order candidates, with their labels, best first by fusion; as they were retrieved, where they
    are not labelled yet."""
    if not labels:
        return candidates
    by_id = {row["passage_id"]: row for row in candidates}
    first_ranker = open_stage(run / LABELS.name).manifest["settings"]["rankers"][0]
    return [{**by_id[row["passage_id"]], **row} for row in sort_by_fusion(labels, first_ranker)]


def _read_teacher_scores(run: Path, query_id: str) -> list[Row]:
    """Read the teachers' scores of a query's examples, if they are of the examples that stand
    there."""
    if not _is_made_from(run, TEACHER_SCORES, EXAMPLES):
        return []
    return [
        row for row in _read_table(run, TEACHER_SCORES) if _is_example_of(row["query_id"], query_id)
    ]


def _is_made_from(run: Path, table: Table, source: Table) -> bool:
    """Return whether a stage is there, and was made from another one as that is now."""
    made, other = run / table.name, run / source.name
    if not (made.exists() and other.exists()):
        return False
    return open_stage(made).manifest["inputs"].get(source.name) == open_stage(other).fingerprint


def _is_example_of(example_id: str, query_id: str) -> bool:
    """Return whether an example is a query's: its own or, `ID+2` and so on, one of a further
    positive."""
    own, _, number = example_id.rpartition("+")
    return example_id == query_id or (own == query_id and number.isdigit())


def _show_dropped(run: Path, stage: str, rows: int, skip: int, console: Console) -> None:
    """Show some of the rows that a stage dropped; those of all stages where it is `dropped`."""
    folders = {path.parent.parent.name: path.parent.parent for path in _list_manifests(run)}
    if stage != "dropped" and stage not in folders:
        raise UserError(
            str(run / stage), "is not a stage of this run", f"this run has: {', '.join(folders)}"
        )
    chosen = [*folders.values()] if stage == "dropped" else [folders[stage]]
    stages = [open_stage(folder) for folder in chosen]
    if not any(of.list_dropped() for of in stages):
        console.print(f"{'this run' if stage == 'dropped' else stage} dropped nothing")
        return
    dropped = (
        (of.name, row)
        for of in stages
        for path in check_files(of, of.list_dropped())
        for row in read_shard(DROPPED, path)
    )
    for name, row in islice(dropped, skip, skip + rows):
        console.print(_build_panel(f"dropped by {name}", row))


def _find_row(run: Path, table: Table, query_id: str) -> Row | None:
    return next(iter(_read_query_rows(run, table, query_id)), None)


def _read_query_rows(run: Path, table: Table, query_id: str) -> list[Row]:
    return [row for row in _read_table(run, table) if row["query_id"] == query_id]


def _read_table(run: Path, table: Table) -> Iterator[Row]:
    return _read_checked(table, run / table.name)


def _read_checked(table: Table, folder: Path) -> Iterator[Row]:
    """Read every row of a stage's table, of which each shard is compared with its checksum first;
    none where the stage is not there yet."""
    if not folder.exists():
        return
    for path in check_files(open_stage(folder), list_shards(folder)):
        yield from read_shard(table, path)


def _read_texts(run: Path, wanted: set[str]) -> dict[str, str]:
    return {
        row["passage_id"]: join_passage(row)
        for row in _read_table(run, PASSAGES)
        if row["passage_id"] in wanted
    }


def _build_panel(title: str, row: Row) -> Panel:
    lines: list[RenderableType] = []
    for name, value in row.items():
        line = Text(f"{name}: ", style="bold")
        line.append(sanitize_for_terminal(_format_value(value)), style="not bold")
        lines.append(line)
    return Panel(Group(*lines), title=Text(sanitize_for_terminal(title)), title_align="left")


def _format_value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return "".join(f"\n  · {_format_value(item)}" for item in value) or "(none)"
    return str(value)
