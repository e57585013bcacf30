"""The tables that pass between stages: their columns, declared once, and how shards are read and
written. A shard is a Parquet file; a table is a folder of shards in the order of their numbers."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.errors import UserError
from distill.files.atomic import read_json
from distill.store.shards import list_shards
from distill.workers.node_copy import fetch_if_copied

Row = dict[str, Any]

_text, _int, _float = pa.string(), pa.int32(), pa.float32()


@dataclass(frozen=True)
class Table:
    """A table's name, what one row of it is, and its columns (nullable only where said)."""

    name: str
    one_row: str
    schema: pa.Schema
    former: frozenset[str] = frozenset()
    """Columns that an older table has, and that are passed over where it is read."""
    newer: frozenset[str] = frozenset()
    """Columns that an older table lacks, and that are read as null. They are written only where
    they hold something, so that rows without them have the bytes that they always had."""

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema.names)


def _declare_table(
    name: str,
    one_row: str,
    nullable: Sequence[str] = (),
    former: Sequence[str] = (),
    newer: Sequence[str] = (),
    **columns: pa.DataType,
) -> Table:
    fields = [pa.field(c, t, nullable=c in nullable) for c, t in columns.items()]
    return Table(name, one_row, pa.schema(fields), frozenset(former), frozenset(newer))


PASSAGES = _declare_table(
    "passages",
    "a passage of the corpus",
    passage_id=_text,
    title=_text,
    text=_text,
    source=_text,
)
GENERATIONS = _declare_table(
    "generations",
    "what the LLM wrote for a passage, word for word",
    nullable=["persona", "length", "difficulty", "language", "fault"],
    passage_id=_text,
    sample=_int,
    draw=_int,
    task_type=_text,
    persona=_text,
    length=_text,
    difficulty=_text,
    language=_text,
    output=_text,
    finished=pa.bool_(),
    fault=_text,
    llm=_text,
)
PARSED = _declare_table(
    "parsed",
    "a query as read from what the LLM wrote, a passage or a log, before any filter",
    nullable=["persona", "language"],
    query_id=_text,
    seed_id=_text,
    sample=_int,
    draw=_int,
    task=_text,
    task_type=_text,
    query=_text,
    persona=_text,
    language=_text,
    llm=_text,
)
NO_LLM = "none"
"""The `llm` of a query that no language model wrote."""
QUERIES = _declare_table(
    "queries",
    "a training query; task_type names its method; seed_id is empty for one of a log",
    nullable=["persona"],
    query_id=_text,
    seed_id=_text,
    task=_text,
    task_type=_text,
    query=_text,
    persona=_text,
    llm=_text,
)
DROPPED = _declare_table(
    "dropped",
    "something that a stage left out, and why",
    item_id=_text,
    reason=_text,
    text=_text,
)
BRAINSTORM = _declare_table(
    "brainstorm",
    "what the LLM wrote without a passage (tasks, or an example of a task), word for word",
    nullable=["task", "fault"],
    item_id=_text,
    task_type=_text,
    task=_text,
    placeholders=_text,
    output=_text,
    finished=pa.bool_(),
    fault=_text,
    llm=_text,
)
TASKS = _declare_table(
    "tasks",
    "a task that examples are written for",
    task_id=_text,
    task_type=_text,
    task=_text,
)
CANDIDATES = _declare_table(
    "candidates",
    "a retrieved passage; rank is null for a seed passage that retrieval missed",
    nullable=["rank"],
    query_id=_text,
    passage_id=_text,
    rank=_int,
    similarity=_float,
)
JUDGEMENTS = _declare_table(
    "judgements",
    "one LLM score of one candidate",
    query_id=_text,
    passage_id=_text,
    ranker=_text,
    score=_float,
    tokens=_int,
)
_JUDGES = ("ql", "rc", "graded", "listwise", "cross_encoder", "bm25")
LABELS = _declare_table(
    "labels",
    "a judged candidate; the scores and ranks of rankers that did not judge it are null",
    nullable=[*_JUDGES, *(f"{judge}_rank" for judge in _JUDGES)],
    former=["teacher"],
    newer=["bm25", "bm25_rank"],
    query_id=_text,
    passage_id=_text,
    similarity=_float,
    **dict.fromkeys(_JUDGES, _float),
    retriever_rank=_int,
    **{f"{judge}_rank": _int for judge in _JUDGES},
    rrf=_float,
)
EXAMPLES = _declare_table(
    "examples",
    "a training example",
    nullable=["positive_score"],
    query_id=_text,
    task=_text,
    task_type=_text,
    query=_text,
    seed_id=_text,
    positive_id=_text,
    positive=_text,
    negative_ids=pa.list_(_text),
    negatives=pa.list_(_text),
    positive_score=_float,
    negative_scores=pa.list_(_float),
    relabelled=pa.bool_(),
)

TEACHER_SCORES = _declare_table(
    "teacher-scores",
    "a teacher's similarity of an example's query with its positive and with each negative, raw",
    query_id=_text,
    teacher=_text,
    scale=_text,
    positive_score=_float,
    negative_scores=pa.list_(_float),
)

TABLES: Mapping[str, Table] = {
    t.name: t
    for t in (
        PASSAGES,
        GENERATIONS,
        PARSED,
        QUERIES,
        DROPPED,
        BRAINSTORM,
        TASKS,
        CANDIDATES,
        JUDGEMENTS,
        LABELS,
        EXAMPLES,
        TEACHER_SCORES,
    )
}


def join_passage(passage: Row) -> str:
    """Join a passage's title and text, as mteb does: what encoders read, LLMs judge and examples
    hold."""
    return f"{passage['title']} {passage['text']}".strip()


def convert_to_arrow(table: Table, rows: Iterable[Row]) -> pa.Table:
    """Convert rows to an Arrow table with the declared columns.

    Raises:
        UserError: if a row lacks a column, has one too many, or holds a value of a wrong type.
    """
    rows = list(rows)
    columns = set(table.columns)
    for number, row in enumerate(rows):
        if row.keys() != columns:
            missing = sorted(columns - row.keys())
            surplus = sorted(row.keys() - columns)
            raise UserError(
                f"table {table.name}, row {number}",
                f"missing columns {missing}, unknown columns {surplus}",
                f"give each row exactly {table.columns}",
            )
    try:
        arrow = pa.Table.from_pylist(rows, schema=table.schema)
        arrow.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as fault:
        raise UserError(
            f"table {table.name}", str(fault), f"columns must be:\n{table.schema}"
        ) from fault
    for field in table.schema:
        if not field.nullable and arrow.column(field.name).null_count:
            raise UserError(
                f"table {table.name}",
                f"column {field.name!r} holds a null",
                "every row needs a value there",
            )
    return arrow


def encode_shard(table: Table, rows: Iterable[Row]) -> bytes:
    """Encode a shard as bytes; the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    arrow = convert_to_arrow(table, rows)
    empty = [name for name in table.newer if arrow[name].null_count == len(arrow)]
    pq.write_table(arrow.drop_columns(empty), sink, compression="zstd", use_dictionary=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def count_rows(path: Path) -> int:
    """Count the rows of one shard from its footer alone."""
    return int(pq.read_metadata(path).num_rows)


def count_rows_by_shard(folder: Path, paths: Sequence[Path]) -> list[int]:
    """Count the rows of each shard: from a stage's manifest if it has them, else from the
    shards."""
    manifest = folder / ".stage" / "manifest.json"
    recorded = read_json(manifest).get("files", {}) if manifest.is_file() else {}
    counts = [recorded.get(path.name, {}).get("rows") for path in paths]
    return [count_rows(path) if n is None else n for n, path in zip(counts, paths, strict=True)]


def read_shard(table: Table, path: Path) -> list[Row]:
    """Read the rows of one shard.

    Raises:
        UserError: if the file is no Parquet or its columns are not the declared ones.
    """
    rows: list[Row] = read_arrow(table, path).to_pylist()
    return rows


def read_arrow(table: Table, path: Path) -> pa.Table:
    """Read one shard as an Arrow table, of which rows become Python objects one by one.

    Raises:
        UserError: if the file is no Parquet or its columns are not the declared ones.
    """
    fetch_if_copied(path.parent)
    try:
        arrow = pq.read_table(path, partitioning=None)
    except (pa.ArrowInvalid, OSError) as fault:
        raise UserError(
            str(path),
            f"is not a readable Parquet file ({fault})",
            "make or fetch it again; in a run's folder the same `distill run` finds it and makes "
            "it again",
        ) from fault
    arrow = arrow.drop_columns([name for name in arrow.column_names if name in table.former])
    arrow = _add_newer_columns(table, arrow)
    if not arrow.schema.equals(table.schema, check_metadata=False):
        raise UserError(
            str(path),
            f"has other columns than a {table.name} table:\n{arrow.schema}",
            f"expected:\n{table.schema}",
        )
    return arrow


def _add_newer_columns(table: Table, arrow: pa.Table) -> pa.Table:
    missing = [name for name in table.columns if name in table.newer - set(arrow.column_names)]
    for name in missing:
        field = table.schema.field(name)
        arrow = arrow.append_column(field, pa.nulls(len(arrow), field.type))
    whole = set(arrow.column_names) == set(table.columns)
    return arrow.select(table.columns) if missing and whole else arrow


def read_rows(table: Table, folder: Path) -> Iterator[Row]:
    """Yield every row of a table, shard after shard, one shard in memory at a time."""
    for path in list_shards(folder):
        yield from read_shard(table, path)


class Reader:
    """Rows of a table by number, with one shard in memory at a time: for tables larger than it. Of
    several folders the rows of one follow those of the other."""

    def __init__(self, table: Table, *folders: Path) -> None:
        self._table = table
        paths = [list_shards(folder) for folder in folders]
        counts = [count_rows_by_shard(*of) for of in zip(folders, paths, strict=True)]
        self._paths = [*chain.from_iterable(paths)]
        self._ends = list(accumulate(chain.from_iterable(counts)))
        self._held = -1
        self._rows: list[Row] = []

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Row]:
        for path in self._paths:
            yield from read_shard(self._table, path)

    def __getitem__(self, number: int) -> Row:
        shard = self._find_shard(number)
        if shard != self._held:
            self._rows, self._held = read_shard(self._table, self._paths[shard]), shard
        return self._rows[number - self._find_first_row(shard)]

    def read_rows(self, numbers: Sequence[int]) -> list[Row]:
        """Read the rows with these numbers, in their order; each shard is read once."""
        rows = {number: self[number] for number in sorted(set(numbers))}
        return [rows[number] for number in numbers]

    def _find_shard(self, number: int) -> int:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return bisect_right(self._ends, number)

    def _find_first_row(self, shard: int) -> int:
        return self._ends[shard - 1] if shard else 0
