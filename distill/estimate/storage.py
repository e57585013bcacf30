"""Estimate what stages write: bytes on the disk, and the files of rows (shards) that hold them.

Rows are compressed, so what one takes was measured (`python benchmarks/scale.py`). The table of the
page docs/guides/scale.md is computed from the same numbers.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import pyarrow.parquet as pq

from distill.estimate.amounts import Amount
from distill.recipe import Relabel
from distill.store.shards import list_shards
from distill.store.stage import Stage

BYTES_A_ROW: Mapping[str, float] = {
    "parsed": 62.0,
    "queries": 60.0,
    "candidates": 10.0,
    "judgements": 69.0,
    "labels": 17.0,
    "examples": 135.0,
}
"""Bytes of a row of a table, apart from the texts of passages; of a pair and ranker in
`judgements`, its row in the run's cache of judgements included."""
BYTES_A_TOKEN = 4.0
"""Of what an LLM writes, before it is compressed."""
_BYTES_A_NUMBER = {"float32": 4.0, "float16": 2.0}
_BYTES_OF_AN_ID = 12.0
"""Beside its vector."""
_BYTES_OF_A_HASH = 24.0
"""Of an id, with the passage's number, in the lookup."""


class PassageBytes(NamedTuple):
    """The mean bytes of a passage: in its table, compressed, and in the copy in which passages are
    looked up."""

    table: float
    lookup: float


NO_PASSAGES = PassageBytes(0.0, 0.0)
MEASURED = PassageBytes(297.0, 644.0)
"""Of 600 bytes of text, as `benchmarks/scale.py` writes it."""


def measure_passages(passages: Stage | None) -> PassageBytes:
    """Measure the bytes of a stage's passages. The lookup, which later stages make of a table of
    several shards, holds what the table does before it is compressed."""
    if passages is None or not passages.manifest["rows"]:
        return NO_PASSAGES
    rows, paths = int(passages.manifest["rows"]), list_shards(passages.folder)
    table = sum(path.stat().st_size for path in paths)
    if len(paths) == 1:
        return PassageBytes(table / rows, 0.0)
    footers = [pq.read_metadata(path) for path in paths]
    groups = [footer.row_group(i) for footer in footers for i in range(footer.num_row_groups)]
    whole = sum(group.total_byte_size for group in groups)
    return PassageBytes(table / rows, whole / rows + _BYTES_OF_A_HASH)


def compute_row_bytes(table: str, passage_bytes: float = 0.0, negatives: int = 0) -> float:
    """Compute the bytes of a row.

    Args:
        passage_bytes: of a passage in its table; examples hold their passages' texts.
        negatives: of an example.
    """
    texts = passage_bytes * (1 + negatives) if table == "examples" else 0.0
    return BYTES_A_ROW[table] + texts


def compute_vector_bytes(dimensions: int, precision: str = "float32") -> float:
    """Compute the bytes of a text's vector."""
    return dimensions * _BYTES_A_NUMBER[precision] + _BYTES_OF_AN_ID


def count_shards(rows: Amount, size: int) -> Amount:
    """Count the shards of these rows, `size` in each."""
    high = None if rows.high is None else float(math.ceil(rows.high / size))
    return Amount(math.ceil(rows.low / size), high)


def count_pair_shards(queries: Amount, pairs: Amount, rule: Relabel) -> Amount:
    """Count the shards of judged pairs: each block of queries ends with one that may be smaller."""
    queries_a_block = max(1, rule.block // rule.shard_size) * rule.shard_size
    blocks = count_shards(queries, queries_a_block)
    whole = count_shards(pairs, rule.shard_size)
    if whole.high is None or blocks.high is None:
        return whole
    return Amount(whole.low, whole.high + max(0.0, blocks.high - 1))
