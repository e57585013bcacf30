"""Passages are read by number and by id, and a corpus is never in memory."""

import random

import pyarrow as pa
import pytest

from distill.errors import UserError
from distill.store import passages as module
from distill.store.passages import PassageReader
from distill.store.tables import PASSAGES, Row, passage_text, write_shard

SHARDS, ROWS_A_SHARD = 10, 10_000


def make_row(number: int) -> Row:
    text = f"Bees dance {number}."
    return {"passage_id": f"p{number}", "title": f"Title {number}", "text": text, "source": "here"}


def write_passages(folder, sizes):
    first = 0
    for number, size in enumerate(sizes):
        rows = [make_row(i) for i in range(first, first + size)]
        write_shard(PASSAGES, folder / f"part-{number:05d}.parquet", rows)
        first += size
    return folder


@pytest.fixture(scope="module")
def large_corpus(tmp_path_factory):
    return write_passages(tmp_path_factory.mktemp("passages"), [ROWS_A_SHARD] * SHARDS)


@pytest.fixture
def reads(monkeypatch):
    """The shards that are read, and the most bytes that Arrow holds when one is."""
    names, held = [], []
    read_arrow = module.read_arrow

    def record(table, path):
        names.append(path.name)
        held.append(pa.total_allocated_bytes())
        return read_arrow(table, path)

    monkeypatch.setattr(module, "read_arrow", record)
    return names, held


def test_4096_random_rows_of_a_large_table_are_read_without_loading_it(large_corpus, reads):
    numbers = random.Random(1).sample(range(SHARDS * ROWS_A_SHARD), 4096)
    reader = PassageReader(large_corpus)
    names, held = reads
    before = pa.total_allocated_bytes()
    assert reader.read_rows(numbers) == [make_row(number) for number in numbers]
    assert len(names) == len(set(names)) == SHARDS
    one_shard = pa.total_allocated_bytes() - before
    assert max(held) - before < 2 * one_shard


def test_4096_random_ids_of_a_large_table_are_found_without_loading_it(large_corpus, reads):
    numbers = random.Random(2).sample(range(SHARDS * ROWS_A_SHARD), 4096)
    found = PassageReader(large_corpus).find({f"p{number}" for number in numbers})
    assert {passage.number: passage.row for passage in found.values()} == {
        number: make_row(number) for number in numbers
    }
    assert len(reads[0]) == SHARDS


def test_ids_in_the_order_of_the_corpus_read_each_shard_once(tmp_path, reads):
    reader = PassageReader(write_passages(tmp_path, [3, 2, 4]))
    for start in range(0, 9, 2):
        reader.find([f"p{number}" for number in range(start, min(start + 2, 9))])
    assert reads[0] == [f"part-{number:05d}.parquet" for number in range(3)]


def test_passages_by_number_by_id_and_one_after_the_other_are_the_same(tmp_path):
    reader = PassageReader(write_passages(tmp_path, [3, 1, 2]))
    rows = [make_row(number) for number in range(6)]
    assert len(reader) == 6
    assert list(reader) == reader.read_rows(range(6)) == [reader[n] for n in range(6)] == rows
    assert reader.read_rows([5, 0, 5]) == [rows[5], rows[0], rows[5]]
    assert reader.read_ids() == [row["passage_id"] for row in rows]
    assert reader.read_texts(["p4", "p1"]) == {
        "p1": passage_text(rows[1]),
        "p4": passage_text(rows[4]),
    }
    assert reader.find([]) == {}
    assert reader.read_rows([]) == []
    with pytest.raises(IndexError):
        reader.read_rows([6])


@pytest.mark.bad_input("damage", "a passage that is no longer there", "refused by id")
def test_a_passage_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="has no passage 'gone'"):
        PassageReader(write_passages(tmp_path, [2])).find(["p1", "gone"])
