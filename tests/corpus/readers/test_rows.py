"""Rows of a corpus that are wrong, whatever the file: refused with file, row and remedy."""

import errno
import gzip
import json
import logging
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.corpus.passages import open_source
from distill.corpus.readers.beir import read_beir
from distill.corpus.readers.jsonl import read_lines
from distill.errors import UserError
from distill.recipe import Recipe


def wrong(kind, name, value, says, outcome=None):
    mark = pytest.mark.bad_input(kind, name, outcome or f"refused: {says}")
    return pytest.param(value, says, id=name, marks=mark)


def read(source, path, **columns):
    values = {"source": source, "path": path and str(path), **columns}
    recipe = Recipe.model_validate({"name": "x", "corpus": values})
    return list(open_source(recipe.corpus, recipe.seed).read())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        wrong("JSONL row", "not JSON", b"{", "is not JSON"),
        wrong("JSONL row", "a list", b"[1]", "is a list|but a list"),
        wrong("JSONL row", "null", b"null", "is not a JSON object but empty"),
        wrong("JSONL row", "a number", b"5", "is not a JSON object but a number"),
        wrong("JSONL row", "10,000 brackets", b'{"x": ' + b"[" * 10_000, "deeper than 100 levels"),
        wrong(
            "JSONL row", "an integer of 5,000 digits", b'{"_id": ' + b"9" * 5000 + b"}", "digits"
        ),
        wrong("JSONL row", "a key twice", b'{"_id": 1, "_id": 2}', "has the key '_id' twice"),
        wrong("JSONL row", "Latin-1", '{"text": "é"}'.encode("latin1"), "is not UTF-8"),
        wrong("JSONL row", "a raw NUL", b'{"text": "a\0b"}', "is not JSON"),
        wrong("JSONL row", "an id with half a surrogate", b'{"_id": "\\ud800", "text": "a"}', "id"),
        wrong("JSONL row", "an id that is true", b'{"_id": true, "text": "a"}', "has no id"),
        wrong("JSONL row", "an id of 1.5", b'{"_id": 1.5, "text": "a"}', "has no id"),
        wrong("JSONL row", "a text that is a number", b'{"_id": "b", "text": 5}', "holds int '5'"),
        wrong(
            "JSONL row", "a title that is NaN", b'{"_id": "b", "title": NaN, "text": "a"}', "nan"
        ),
    ],
)
def test_row_of_json_that_is_refused(tmp_path, line, says):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b'{"_id": "a", "text": "b"}\n' + line + b"\n")
    with pytest.raises(UserError, match=says) as fault:
        read("jsonl", file)
    assert fault.value.where == f"{file}, row 2"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        wrong(
            "JSONL file", "gzip (docs.jsonl.gz)", gzip.compress(b"{}"), "compressed .gzip.*gunzip"
        ),
        wrong("JSONL file", "UTF-16", '{"text": "a"}'.encode("utf-16"), "is UTF-16"),
        wrong("JSONL file", "a zip archive", b"PK\x03\x04....", "is a zip archive"),
        wrong("JSONL file", "Parquet named .jsonl", b"PAR1....", "is a Parquet file"),
    ],
)
def test_file_in_another_form_is_named_as_that(tmp_path, data, says):
    file = tmp_path / "texts.jsonl"
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"(?s){says}") as fault:
        list(read_lines(file))
    assert fault.value.where == str(file)


@pytest.mark.bad_input(
    "columns", "ids in later rows alone", "refused with the row, where rows were numbered before"
)
def test_ids_that_come_late_are_not_thrown_away(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a"}\n{"text": "b"}\n{"_id": "x", "text": "c"}\n')
    with pytest.raises(
        UserError, match="has an id in '_id', and the rows before it have none"
    ) as e:
        read("jsonl", file)
    assert e.value.where == f"{file}, row 3"


@pytest.mark.bad_input("columns", "ids in some rows only", "refused with the first row without")
def test_ids_that_are_missing_later(tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"_id": "x", "text": "a"}\n{"text": "b"}\n')
    with pytest.raises(UserError, match="row 2: has no id"):
        read("jsonl", file)


@pytest.mark.bad_input(
    "columns", "`id` in the place of `_id`", "numbered, and said with the columns"
)
@pytest.mark.parametrize("source", ["jsonl", "parquet"])
def test_rows_that_are_numbered_are_said_to_be(tmp_path, caplog, source):
    rows = [{"id": "x", "text": "a"}]
    file = tmp_path / f"texts.{source}"
    if source == "jsonl":
        file.write_text(json.dumps(rows[0]))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in read(source, file)] == ["1"]
    assert "numbered" in caplog.text
    assert "corpus.id_column" in caplog.text


@pytest.mark.bad_input("columns", "an id column that is misspelt", "refused, columns listed")
@pytest.mark.parametrize("source", ["jsonl", "parquet"])
@pytest.mark.parametrize("column", ["id_column", "title_column", "text_column"])
def test_column_that_is_misspelt(tmp_path, source, column):
    rows = [{"id": "x", "name": "T", "body": "a"}]
    file = tmp_path / f"texts.{source}"
    if source == "jsonl":
        file.write_text(json.dumps(rows[0]))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    names = {"id_column": "id", "title_column": "name", "text_column": "body"}
    assert read(source, file, **names)[0].id == "x"
    with pytest.raises(UserError, match=r"has no (column|text in column) 'misspelt'") as fault:
        read(source, file, **names | {column: "misspelt"})
    assert column in fault.value.remedy


@pytest.mark.bad_input("Parquet", "a text that is no UTF-8", "refused with the row")
def test_parquet_with_bytes_that_are_no_text(tmp_path):
    texts = pa.array([b"good", b"bad \xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"_id": ["a", "b"], "text": texts}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="row 2: cannot be read"):
        read("parquet", tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        wrong("Parquet", "text named .parquet", b"no", "is not a readable Parquet file"),
        wrong("Parquet", "nothing", b"", "is not a readable Parquet file"),
        wrong("Parquet", "cut short", b"PAR1" + b"\0" * 40, "is not a readable Parquet file"),
    ],
)
def test_file_that_is_no_parquet(tmp_path, data, says):
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(UserError, match=says):
        read("parquet", tmp_path / "x.parquet")


def test_folder_of_parquet_files_that_are_compressed(tmp_path):
    pq.write_table(pa.table({"_id": ["a"], "text": ["one"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"_id": ["b"], "text": ["two"]}), tmp_path / "plain")
    (tmp_path / "2.parquet.gz").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    (tmp_path / "plain").unlink()
    documents = read("parquet", tmp_path)
    assert [(d.id, d.text, d.source) for d in documents] == [("a", "one", "1"), ("b", "two", "2")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        wrong("Parquet", "not gzip (.parquet.gz)", b"PAR1", "cannot be decompressed as gzip"),
        wrong(
            "Parquet",
            "gzip cut short (.parquet.gz)",
            gzip.compress(b"PAR1" + bytes(range(256)))[:-20],
            "cannot be decompressed as gzip|is not a readable Parquet file",
            "refused as damaged",
        ),
        wrong("Parquet", "gzip of text", gzip.compress(b"a"), "is not a readable Parquet file"),
    ],
)
def test_compressed_file_that_is_no_parquet(tmp_path, data, says):
    (tmp_path / "x.parquet.gz").write_bytes(data)
    with pytest.raises(UserError, match=says) as fault:
        read("parquet", tmp_path / "x.parquet.gz")
    assert fault.value.where == str(tmp_path / "x.parquet.gz")


@pytest.mark.bad_input("Parquet", "compressed, no room to unpack it", "refused, with the folder")
def test_disk_that_is_full_where_parquet_is_unpacked(tmp_path, monkeypatch):
    pq.write_table(pa.table({"_id": ["a"], "text": ["one"]}), tmp_path / "x")
    (tmp_path / "x.parquet.gz").write_bytes(gzip.compress((tmp_path / "x").read_bytes()))
    # /dev/full answers every write as a full disk does.
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(UserError, match="full") as fault:
        read("parquet", tmp_path / "x.parquet.gz")
    assert fault.value.where == tempfile.gettempdir()


@pytest.mark.bad_input("path", "a relative path that is not there", "told from where it was sought")
def test_relative_path_says_from_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no such file or folder in {tmp_path}, where the command"):
        read("jsonl", "docs.jsonl")


@pytest.mark.bad_input("path", "~nobody", "refused: whose home is not known")
def test_home_of_nobody():
    with pytest.raises(UserError, match="home of a user who is not known"):
        read("jsonl", "~nobody-of-this-name/docs.jsonl")


@pytest.mark.bad_input("path", "a corpus named by 300 letters", "refused: longer than allowed")
def test_name_that_is_too_long():
    with pytest.raises(UserError, match="longer than the disk allows"):
        read("jsonl", "n" * 300)


def beir(folder, qrels):
    (folder / "qrels").mkdir()
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": "b"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "c"}\n')
    data = qrels if isinstance(qrels, bytes) else qrels.encode()
    (folder / "qrels" / "test.tsv").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "header", ["qid\tdocid\trelevance", "query-id\tcorpus-id\tscore", "a\tb\tRel"]
)
def test_header_of_other_names_is_a_header(tmp_path, header):
    assert read_beir(beir(tmp_path, f"{header}\nq1\td1\t1\n")).qrels == {"q1": {"d1": 1}}


def test_whole_grades_may_be_written_as_floats(tmp_path):
    read = read_beir(beir(tmp_path, "q1\td1\t1.0\nq1\td2\t-1.00\n"))
    assert read.qrels == {"q1": {"d1": 1, "d2": -1}}


@pytest.mark.parametrize(
    ("qrels", "says"),
    [
        wrong("judgements", "a grade of 0.75", "q1\td1\t0.75\n", "whole number as score"),
        wrong("judgements", "a grade of ²", "q1\td1\t²\n", "whole number as score"),
        wrong("judgements", "a grade of 30 digits", f"q1\td1\t{'9' * 30}\n", "whole number"),
        wrong("judgements", "a grade that is nan", "q1\td1\tnan\n", "whole number as score"),
        wrong("judgements", "TREC's four columns", "q1\t0\td1\t1\n", "is not `query-id"),
        wrong("judgements", "a header of other words", "x\ty\tz\n", "nor a header of these three"),
        wrong("judgements", "blanks for tabs", "q1 d1 1\n", "is not `query-id"),
        wrong(
            "judgements", "Latin-1", "q1\td1\t1\né\td1\t1".encode("latin1"), "row 2: is not UTF-8"
        ),
        wrong("judgements", "gzip", b"\x1f\x8b\x08", "compressed"),
    ],
)
def test_judgements_that_are_refused(tmp_path, qrels, says):
    with pytest.raises(UserError, match=says):
        read_beir(beir(tmp_path, qrels))


@pytest.mark.bad_input("attack", "a dataset that is a script", "refused, never run")
def test_dataset_that_is_a_script_is_not_run(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="cannot be loaded"):
        read("dataset", None, dataset=str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.bad_input("Parquet", "the text column twice", "refused")
def test_column_that_is_there_twice(tmp_path):
    arrays = [pa.array(["a"]), pa.array(["one"]), pa.array(["another"])]
    table = pa.Table.from_arrays(arrays, names=["_id", "text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has the column 'text' 2 times"):
        read("parquet", tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.bad_input(
                "corpus", f"{name} in a folder beside *.jsonl", "refused, for it would not be read"
            ),
        )
        for name in ("b.jsonl.7z", "b.JSONL", "b.jsonl.zip")
    ],
)
def test_folder_of_which_a_part_would_not_be_read(tmp_path, name):
    (tmp_path / "a.jsonl").write_text('{"_id": "a", "text": "b"}\n')
    (tmp_path / "README.md").write_text("of no corpus")
    assert len(read("jsonl", tmp_path)) == 1
    (tmp_path / name).write_bytes(gzip.compress(b'{"_id": "b", "text": "c"}'))
    with pytest.raises(UserError, match=f"holds {name}, and only files named"):
        read("jsonl", tmp_path)


def test_file_that_the_system_cannot_read_on(monkeypatch, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"_id": "a", "text": "b"}\n')

    def breaks(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", breaks)
    with pytest.raises(UserError, match=r"a\.jsonl"):
        read("jsonl", tmp_path)
