"""The table of the page on scale is what `distill estimate` reckons with."""

import math
from pathlib import Path

from distill.estimate.storage import (
    BYTES_A_ROW,
    MEASURED,
    compute_row_bytes,
    compute_vector_bytes,
)
from distill.files.atomic import format_bytes
from distill.recipe import Generate, Relabel

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "scale.md"
PASSAGES = [10**5, 10**6, 10**7, 10**8]
CANDIDATES, DIMENSIONS = 20, 384


def read_row(start: str) -> list[str]:
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("| ").split(" | ")[1:]]


def format_roughly(size: float) -> str:
    number, unit = format_bytes(size).split()
    return f"{float(number):.1f} {unit}" if float(number) < 9.95 else f"{float(number):.0f} {unit}"


def test_bytes_of_a_corpus():
    assert read_row("disk: passages") == [format_roughly(n * sum(MEASURED)) for n in PASSAGES]
    vector = compute_vector_bytes(DIMENSIONS)
    assert read_row("disk: vectors") == [format_roughly(n * vector) for n in PASSAGES]


def test_bytes_of_a_query_for_every_ten_passages():
    rule = Relabel()
    pair = BYTES_A_ROW["candidates"] + 2 * BYTES_A_ROW["judgements"] + BYTES_A_ROW["labels"]
    query = BYTES_A_ROW["parsed"] + BYTES_A_ROW["queries"] + CANDIDATES * pair
    query += compute_row_bytes("examples", MEASURED.table, rule.negative_count)
    expected = [format_roughly(n / 10 * query) for n in PASSAGES]
    assert read_row("disk: queries to examples") == expected


def test_shards_of_a_query_for_every_ten_passages():
    sizes = [(n // 10, Generate().shard_size) for n in PASSAGES]
    written = [math.ceil(queries / size) for queries, size in sizes]
    judged = [math.ceil(n // 10 * CANDIDATES / Relabel().shard_size) for n in PASSAGES]
    expected = [f"{one:,}, {other:,}" for one, other in zip(written, judged, strict=True)]
    assert read_row("shards to write queries") == expected
