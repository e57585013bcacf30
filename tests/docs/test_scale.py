"""The table of the page on scale is what `distill estimate` reckons with, and its times of GPUs
those of the assumptions that are written beside it."""

import math
from pathlib import Path

from distill.estimate.gpu_hours import (
    CANDIDATES,
    DIMENSIONS,
    H100_DOLLARS_AN_HOUR,
    H100_FLOPS_OF_ENCODER,
    H100_FLOPS_OF_SEARCH,
    H100_NEW_TOKENS,
    H100_PROMPT_TOKENS,
    PASSAGES_A_QUERY,
    TOKENS_OF_PAIR,
    TOKENS_OF_PASSAGE,
    compute_gpu_seconds,
)
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
    expected = [format_roughly(n / PASSAGES_A_QUERY * query) for n in PASSAGES]
    assert read_row("disk: queries to examples") == expected


def test_shards_of_a_query_for_every_ten_passages():
    sizes = [(n // PASSAGES_A_QUERY, Generate().shard_size) for n in PASSAGES]
    written = [math.ceil(queries / size) for queries, size in sizes]
    judged = [
        math.ceil(n // PASSAGES_A_QUERY * CANDIDATES / Relabel().shard_size) for n in PASSAGES
    ]
    expected = [f"{one:,}, {other:,}" for one, other in zip(written, judged, strict=True)]
    assert read_row("shards to write queries") == expected


def format_time(seconds: float) -> str:
    """Two digits, in the largest unit of which there is one."""
    if seconds < 1:
        return "below 1 s"
    sizes = ((3600, "h"), (60, "min"), (1, "s"))
    size, unit = next((size, unit) for size, unit in sizes if seconds >= size)
    return f"{float(f'{seconds / size:.1e}'):g} {unit}"


def test_times_of_gpus_are_those_of_the_assumptions():
    found = [compute_gpu_seconds(n) for n in PASSAGES]
    assert read_row("GPU: embed passages") == [format_time(one.embed) for one in found]
    assert read_row("GPU: write queries") == [format_time(one.write) for one in found]
    assert read_row("GPU: judge pairs") == [format_time(one.judge) for one in found]
    assert read_row("GPU: exact search") == [format_time(one.search) for one in found]
    dollars = [f"${float(f'{one.dollars:.1e}'):,.0f}" for one in found]
    assert read_row("GPUs at $3 an hour") == dollars
    assert H100_DOLLARS_AN_HOUR == 3


def test_page_names_the_assumptions_about_gpus():
    page = " ".join(PAGE.read_text().split())
    assert f"passages of {TOKENS_OF_PASSAGE} tokens" in page
    assert f"at {H100_FLOPS_OF_ENCODER / 1e12:.0f} TFLOPS" in page
    assert f"exact search at {H100_FLOPS_OF_SEARCH / 1e12:.0f}" in page
    assert f"reads {H100_PROMPT_TOKENS:,} tokens a second and writes {H100_NEW_TOKENS:,}" in page
    assert f"{TOKENS_OF_PAIR} tokens of a pair" in page
