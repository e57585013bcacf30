"""Tables: declared columns, and faults that name their place."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.passages import write_shard

from distill.errors import UserError
from distill.store.shards import make_shard_name
from distill.store.tables import (
    DROPPED,
    LABELS,
    PASSAGES,
    Reader,
    read_rows,
    read_shard,
)

ROW = {"passage_id": "1", "title": "", "text": "Bees dance.", "source": "here"}


def test_rows_come_back_and_equal_rows_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(PASSAGES, tmp_path / name, [ROW])
    assert read_shard(PASSAGES, tmp_path / "a") == [ROW]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.bad_input("damage", "a row that does not fit its table", "refused, nothing left")
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"passage_id": "1"}, "row 0: missing columns"),
        (ROW | {"score": 1}, "unknown columns.*score"),
        (ROW | {"text": None}, "'text' holds a null"),
        (ROW | {"text": 3}, "passages"),
    ],
)
def test_wrong_row_is_refused_and_leaves_nothing(tmp_path, row, said):
    with pytest.raises(UserError, match=said):
        write_shard(PASSAGES, tmp_path / "part.parquet", [row])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bad_input("damage", "a broken shard, or a table of another kind", "refused by name")
def test_table_of_another_kind_and_a_broken_file_are_named(tmp_path):
    write_shard(PASSAGES, tmp_path / "part.parquet", [ROW])
    with pytest.raises(UserError, match=r"part\.parquet.*other columns"):
        read_shard(DROPPED, tmp_path / "part.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"broken\.parquet"):
        read_shard(DROPPED, tmp_path / "broken.parquet")


def test_shards_are_in_the_order_of_their_numbers_whatever_the_width_of_their_names(tmp_path):
    numbers = [99_999, 100_000, 100_001, 1_000_000, 7, 20]
    for number in numbers:
        name = tmp_path / f"part-{number:05d}.parquet"
        write_shard(PASSAGES, name, [ROW | {"passage_id": str(number)}])
    expected = [str(number) for number in sorted(numbers)]
    assert [row["passage_id"] for row in read_rows(PASSAGES, tmp_path)] == expected
    reader = Reader(PASSAGES, tmp_path)
    assert [reader[i]["passage_id"] for i in range(len(reader))] == expected


def test_shard_names_of_a_table_are_as_wide_as_its_last_and_five_digits_at_least():
    assert make_shard_name(7, 100) == "part-00007"
    assert make_shard_name(7, 100_000) == "part-00007"
    assert make_shard_name(7, 100_001) == "part-000007"
    assert make_shard_name(100_000, 100_001) == "part-100000"


def test_column_that_a_table_no_longer_has_is_passed_over_where_an_older_one_has_it(tmp_path):
    row = dict.fromkeys(LABELS.columns) | {
        "query_id": "q",
        "passage_id": "p",
        "similarity": 0.5,
        "retriever_rank": 1,
        "rrf": 1.0,
    }
    write_shard(LABELS, tmp_path / "part-00000.parquet", [row])
    older = pq.read_table(tmp_path / "part-00000.parquet")
    older = older.append_column(pa.field("teacher", pa.float32()), pa.nulls(1, pa.float32()))
    pq.write_table(older, tmp_path / "older.parquet")
    assert read_shard(LABELS, tmp_path / "older.parquet") == [row]


def test_newer_column_is_written_where_it_holds_something_and_else_read_as_null(tmp_path):
    row = dict.fromkeys(LABELS.columns) | {
        "query_id": "q",
        "passage_id": "p",
        "similarity": 0.5,
        "retriever_rank": 1,
        "rrf": 1.0,
    }
    older, newer = tmp_path / "part-00000.parquet", tmp_path / "part-00001.parquet"
    write_shard(LABELS, older, [row])
    write_shard(LABELS, newer, [row | {"bm25": 2.0, "bm25_rank": 1}])
    assert not {"bm25", "bm25_rank"} & set(pq.read_schema(older).names)
    assert set(pq.read_schema(newer).names) == set(LABELS.columns)
    assert [shard["bm25"] for shard in read_rows(LABELS, tmp_path)] == [None, 2.0]
    assert read_shard(LABELS, older) == [row]
