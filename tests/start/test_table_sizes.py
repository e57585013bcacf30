"""How many documents `distill init` says that a large table has."""

import csv
import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns
from distill.start.survey import count_corpus, survey_corpus

ROWS = 20_000
WORDS = [f"{stem}{ending}" for stem in ("sw", "st", "br", "gl") for ending in ("ift", "one", "ow")]


def make_rows(words):
    draw = random.Random(13)
    return [
        {"id": str(n), "title": f"Note {n}", "text": " ".join(draw.choices(WORDS, k=words))}
        for n in range(ROWS)
    ]


def write_rows(file, rows):
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        with file.open("w", newline="") as out:
            csv.writer(out, quoting=csv.QUOTE_ALL).writerows(
                row.values() for row in [{k: k for k in rows[0]}, *rows]
            )
    else:
        lines = "\n".join(map(json.dumps, rows)).encode()
        lines = json.dumps(rows).encode() if file.suffix == ".json" else lines
        file.write_bytes(gzip.compress(lines) if file.suffix == ".gz" else lines)
    return file


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.parquet"])
def test_rows_of_a_large_table_are_estimated(tmp_path, name):
    rows = [row | {"html": "<p>" * 100 + row["text"]} for row in make_rows(20)]
    surveyed = survey_corpus(write_rows(tmp_path / name, rows), 256)
    assert not surveyed.is_whole
    assert surveyed.documents == pytest.approx(ROWS, rel=0.2)


def test_rows_of_a_packed_table_are_estimated_by_its_beginning(tmp_path):
    """It holds 20 MB, of which less than the half is read."""
    draw = random.Random(13)
    rows = [row | {"digest": draw.randbytes(450).hex()} for row in make_rows(5)]
    surveyed = survey_corpus(write_rows(tmp_path / "a.jsonl.gz", rows), 256)
    assert surveyed.documents == pytest.approx(ROWS, rel=0.2)


def test_rows_of_many_tables_are_estimated_by_some(tmp_path):
    rows = make_rows(20)
    for number in range(25):
        write_rows(tmp_path / f"{number:02}.jsonl", rows[number * 800 : (number + 1) * 800])
    assert survey_corpus(tmp_path, 256).documents == pytest.approx(ROWS, rel=0.2)


def test_titles_without_a_text_are_counted(tmp_path):
    """A run counts its corpus before it chooses the test."""
    file = write_rows(tmp_path / "a.csv", [row | {"text": ""} for row in make_rows(0)[:2500]])
    assert survey_corpus(file, 256).documents == pytest.approx(2500, rel=0.2)
    counts = count_corpus(open_auto(file, Columns()), file, 256)
    assert counts.whole_documents == pytest.approx(2500, rel=0.2)
