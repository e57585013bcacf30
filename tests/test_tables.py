"""Tables: declared columns, and faults that name their place."""

import pytest

from distill.errors import UserError
from distill.tables import DROPPED, PASSAGES, read_shard, write_shard

ROW = {"passage_id": "1", "title": "", "text": "Bees dance.", "source": "here"}


def test_rows_come_back_and_equal_rows_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(PASSAGES, tmp_path / name, [ROW])
    assert read_shard(PASSAGES, tmp_path / "a") == [ROW]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"passage_id": "1"}, "row 0: missing columns"),
        (ROW | {"score": 1}, "unknown columns.*score"),
        (ROW | {"text": None}, "'text' holds a null"),
        (ROW | {"text": 3}, "passages"),
    ],
)
def test_a_wrong_row_is_refused_and_leaves_nothing(tmp_path, row, said):
    with pytest.raises(UserError, match=said):
        write_shard(PASSAGES, tmp_path / "part.parquet", [row])
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_another_kind_and_a_broken_file_are_named(tmp_path):
    write_shard(PASSAGES, tmp_path / "part.parquet", [ROW])
    with pytest.raises(UserError, match=r"part\.parquet.*other columns"):
        read_shard(DROPPED, tmp_path / "part.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"broken\.parquet"):
        read_shard(DROPPED, tmp_path / "broken.parquet")
