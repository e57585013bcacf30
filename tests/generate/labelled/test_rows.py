"""Files of labelled sets that are wrong."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import UserError
from distill.generate.labelled.rows import read_labelled


def wrong(name, file, data, says):
    mark = pytest.mark.bad_input("labelled set", name, f"refused: {says}")
    return pytest.param(file, data, says, id=name, marks=mark)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        wrong("a suffix that is not known", "x.txt", b"", "is none of"),
        wrong(
            "a row with more columns", "x.csv", b"text,label\na,b,c\n", "row 2: has other columns"
        ),
        wrong("a row with fewer columns", "x.tsv", b"text\tlabel\na\n", "row 2: has other columns"),
        wrong("a quote that is not closed", "x.csv", b'text,label\n"a,b\n', "cannot be read"),
        wrong(
            "a column twice", "x.csv", b"text,label,text\na,b,c\n", "names the column 'text' twice"
        ),
        wrong("no such column", "x.csv", b"txt,label\na,b\n", "has no column 'text'.*label"),
        wrong("Latin-1", "x.csv", b"text,label\na,b\n\xe9,b\n", "row 3: is not UTF-8"),
        wrong("UTF-16", "x.csv", "text,label\n".encode("utf-16"), "is UTF-16"),
        wrong("gzip", "x.csv", b"\x1f\x8b\x08..", "compressed"),
        wrong(
            "a field of 200,000 letters",
            "x.csv",
            b"text,label\n" + b"a" * 200_000,
            "cannot be read",
        ),
        wrong("an empty label", "x.csv", b"text,label\na,\n", "column 'label' is empty"),
        wrong("a label that is 0.5", "x.jsonl", b'{"text": "a", "label": 0.5}', "holds float"),
        wrong("a label that is true", "x.jsonl", b'{"text": "a", "label": true}', "holds bool"),
        wrong("a label that is null", "x.jsonl", b'{"text": "a", "label": null}', "holds NoneType"),
        wrong(
            "half a surrogate", "x.jsonl", b'{"text": "\\ud800", "label": 1}', "half a surrogate"
        ),
        wrong("10,000 brackets", "x.jsonl", b"[" * 10_000, "deeper than 100 levels"),
        wrong("text as Parquet", "x.parquet", b"no", "is not a readable Parquet file"),
    ],
)
def test_labelled_set_that_is_refused(tmp_path, name, data, says):
    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(UserError, match=says) as fault:
        list(read_labelled(file, ["text", "label"]))
    assert str(file) in fault.value.where


@pytest.mark.parametrize(
    "data", [",text,label\n0,a,b\n", "text,label,\na,b,\n", ",text,label,\n0,a,b,\n"]
)
def test_columns_without_a_name_are_left_alone(tmp_path, data):
    """Such as those that pandas writes with the number of each row."""
    file = tmp_path / "x.csv"
    file.write_text(data)
    assert list(read_labelled(file, ["text", "label"])) == [(2, ["a", "b"])]


@pytest.mark.bad_input("labelled set", "a TSV file with quotes in its texts", "letters of a text")
def test_quotes_of_a_tsv_file_are_letters(tmp_path):
    """As in corpora and logs; a text such as the first one was refused."""
    file = tmp_path / "x.tsv"
    file.write_text('text\tlabel\n"Great" film\tpos\n"Start\tneg\n\n"all of it"\tpos\n')
    rows = [(2, ['"Great" film', "pos"]), (3, ['"Start', "neg"]), (5, ["all of it", "pos"])]
    assert list(read_labelled(file, ["text", "label"])) == rows


@pytest.mark.bad_input("labelled set", "empty rows that a spreadsheet wrote", "passed over")
def test_empty_rows_of_a_spreadsheet_are_passed_over(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("text,label\na,b\n,\n,,\nc,d\n,\n")
    assert list(read_labelled(file, ["text", "label"])) == [(2, ["a", "b"]), (5, ["c", "d"])]


@pytest.mark.bad_input(
    "labelled set", "Parquet with bytes that are no text", "refused with the row"
)
def test_parquet_with_bytes_that_are_no_text(tmp_path):
    texts = pa.array([b"good", b"bad \xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"label": [1, 2], "text": texts}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="row 2: cannot be read"):
        list(read_labelled(tmp_path / "x.parquet", ["text", "label"]))


@pytest.mark.bad_input("labelled set", "no such file", "refused, with where it was sought")
def test_file_that_is_not_there(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no such file in {tmp_path}"):
        list(read_labelled(Path("x.csv"), ["text"]))
