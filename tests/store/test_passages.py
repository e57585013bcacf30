"""Passages are read by number and by id, and a corpus is never in memory."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from helpers.passages import write_shard

from distill.errors import UserError
from distill.files import checksums
from distill.store import passage_lookup
from distill.store import passages as module
from distill.store.passages import PassageIds, PassageReader, draw_passages
from distill.store.run import Run
from distill.store.stage import EncodedShard, ShardResult, open_stage
from distill.store.tables import PASSAGES, Reader, Row, encode_shard, join_passage

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
    assert list(PassageIds(reader)) == [row["passage_id"] for row in rows]
    assert reader.read_texts(["p4", "p1"]) == {
        "p1": join_passage(rows[1]),
        "p4": join_passage(rows[4]),
    }
    assert reader.find([]) == {}
    assert reader.read_rows([]) == []
    with pytest.raises(IndexError):
        reader.read_rows([6])


@pytest.mark.bad_input("damage", "a passage that is no longer there", "refused by id")
def test_passage_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="has no passage 'gone'"):
        PassageReader(write_passages(tmp_path, [2])).find(["p1", "gone"])


@pytest.fixture
def finished_corpus(tmp_path):
    """A finished stage of passages, in three shards of which one is empty."""
    with Run(tmp_path / "run") as run:
        stage = run.open_stage("passages", {})
        items = [range(3), range(0), range(3, 7)]
        stage.map_shards(PASSAGES, items, lambda of: ShardResult([make_row(i) for i in of]))
        stage.finish()
    return stage.folder


def list_lookups(folder):
    return sorted(path.name for path in (folder / ".stage").glob("lookup-*"))


def test_passages_of_a_finished_stage_are_read_as_those_of_its_shards_are(finished_corpus, reads):
    reader, rows = PassageReader(finished_corpus), [make_row(number) for number in range(7)]
    assert reader.read_rows([5, 0, 5, 3]) == [rows[5], rows[0], rows[5], rows[3]]
    assert reader.find(["p6", "p1"]) == {"p1": (1, rows[1]), "p6": (6, rows[6])}
    assert reader.find_numbers(["p4", "p0"]) == {"p0": 0, "p4": 4}
    assert reader.read_ids_at([6, 2, 2]) == ["p6", "p2", "p2"]
    assert list(PassageIds(reader)) == [row["passage_id"] for row in rows]
    assert reader.read_texts(["p2"]) == {"p2": join_passage(rows[2])}
    assert (reader.find([]), reader.read_rows([]), reader.read_ids_at([])) == ({}, [], [])
    assert reads[0] == []
    for number in (-1, 7):
        with pytest.raises(IndexError):
            reader.read_rows([number])
    with pytest.raises(UserError, match="has no passage 'gone'"):
        reader.find_numbers(["p1", "gone"])


@pytest.mark.parametrize("finished", [True, False])
def test_passages_are_drawn_by_seed_in_the_order_of_the_corpus(tmp_path, finished_corpus, finished):
    folder = finished_corpus if finished else write_passages(tmp_path, [3, 0, 4])
    rows = Reader(PASSAGES, folder)
    for count, seed in [(0, 13), (3, 13), (3, "14|other"), (7, 13), (100, 13)]:
        numbers = random.Random(seed).sample(range(7), min(count, 7))
        drawn = draw_passages(PassageReader(folder), count, seed)
        assert drawn == [rows[number] for number in sorted(numbers)]


def test_passages_whose_ids_hash_alike_are_distinguished(finished_corpus, monkeypatch):
    monkeypatch.setattr(passage_lookup, "_hash_ids", lambda ids: np.full(len(ids), 7, np.uint64))
    reader = PassageReader(finished_corpus)
    assert reader.find_numbers(["p5", "p0", "p3"]) == {"p5": 5, "p0": 0, "p3": 3}
    with pytest.raises(UserError, match="has no passage 'p7'"):
        reader.find_numbers(["p7"])


def test_passages_are_laid_out_once(finished_corpus, monkeypatch):
    PassageReader(finished_corpus).find(["p1"])
    monkeypatch.setattr(passage_lookup, "read_arrow", None)
    assert PassageReader(finished_corpus).read_ids_at([1]) == ["p1"]
    assert len(list_lookups(finished_corpus)) == 1


@pytest.mark.bad_input(
    "damage", "the memory-mapped copy of the passages with one changed byte", "made again"
)
def test_damaged_copy_of_the_passages_is_made_again(finished_corpus, monkeypatch):
    PassageReader(finished_corpus).find(["p1"])
    (name,) = list_lookups(finished_corpus)
    path = finished_corpus / ".stage" / name / "rows.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Bees dance 1", b"Bees dance 9"))
    monkeypatch.setattr(checksums, "_compared", set())
    assert PassageReader(finished_corpus).read_texts(["p1"]) == {"p1": join_passage(make_row(1))}
    assert path.read_bytes() == whole


def test_copy_of_other_passages_is_not_taken(finished_corpus):
    PassageReader(finished_corpus).find(["p1"])
    before = list_lookups(finished_corpus)
    other = [make_row(number) | {"text": "Another."} for number in range(3)]
    stage = open_stage(finished_corpus)
    shard = EncodedShard(encode_shard(PASSAGES, other), len(other), Counter(), None, 0, None)
    stage.commit_shard(finished_corpus / "part-00000.parquet", shard, 0.0)
    stage.finish()
    assert PassageReader(finished_corpus).read_rows([1]) == [other[1]]
    assert len(list_lookups(finished_corpus)) == 1
    assert list_lookups(finished_corpus) != before


def test_passages_of_a_folder_that_cannot_be_written_are_read_from_their_shards(
    finished_corpus, reads
):
    (finished_corpus / ".stage" / "lookup.lock").mkdir()
    assert PassageReader(finished_corpus).read_rows([5]) == [make_row(5)]
    assert reads[0] == ["part-00002.parquet"]
