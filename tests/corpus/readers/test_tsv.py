"""Tables of fields between tabs: a line is a row, and quotes are letters."""

from pathlib import Path

import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.jsonl import hash_file
from distill.corpus.readers.rows import Columns, Document
from distill.errors import UserError
from distill.generate.log.read import read_log
from distill.generate.log.stage import fingerprint
from distill.recipe import QueryLog


def read(file: Path) -> list[tuple[str, str]]:
    documents = open_auto(file, Columns()).read()
    return [(one.id, one.text) for one in documents if isinstance(one, Document)]


def write_lines(file: Path, *lines: str) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


@pytest.mark.bad_input("corpus", "a TSV file with quotes that do not close", "letters of a text")
@pytest.mark.parametrize("name", ["rows.tsv", "rows.tab"])
def test_quotes_of_a_tsv_file_join_no_lines(tmp_path, name):
    """Rows up to the next quote were one text."""
    rows = [("1", '"Start of a quote'), ("2", "middle"), ("3", 'end of it"'), ("4", "last")]
    lines = ("\t".join(row) for row in rows)
    assert read(write_lines(tmp_path / name, "_id\ttext", *lines)) == rows


def test_quoted_field_of_a_tsv_file_loses_its_quotes(tmp_path):
    file = write_lines(
        tmp_path / "rows.tsv",
        '"_id"\t"text"\t""',
        '1\t"Slow ""rivers"", as it were."\t',
        '2\t"One," they said, "or two."\tx',
        '3\t5" of rain\tx\r',
        "",
        '4\t"\tx',
    )
    assert read(file) == [
        ("1", 'Slow "rivers", as it were.'),
        ("2", '"One," they said, "or two."'),
        ("3", '5" of rain'),
        ("4", '"'),
    ]


@pytest.mark.bad_input("corpus", "a TSV file with a line break in quotes", "refused, with remedy")
def test_line_break_within_quotes_of_a_tsv_file_is_refused(tmp_path):
    file = write_lines(tmp_path / "rows.tsv", "_id\ttext\ttitle", '1\t"Slow\nrivers"\tIce')
    with pytest.raises(UserError, match=r"row 1.*has 2 fields.*3\n(.|\n)*named \.csv"):
        read(file)
    file.rename(tmp_path / "rows.csv")
    assert read(tmp_path / "rows.csv") == [("1", "Slow\nrivers")]


def test_search_phrases_of_a_log_in_a_tsv_file_are_queries(tmp_path):
    """A log with such a query was refused."""
    queries = ['"exact phrase" of bees', '"bees" OR "wasps"', "how do bees dance"]
    file = write_lines(tmp_path / "log.tsv", "query\tclicks", *(f"{one}\t3" for one in queries))
    assert read_log(file, QueryLog(path="log.tsv")).queries == queries


@pytest.mark.parametrize(
    ("query", "is_another"), [('"exact', True), ('"exact phrase" of bees', False)]
)
def test_fingerprint_of_a_log_is_another_where_its_queries_are(tmp_path, query, is_another):
    file = write_lines(tmp_path / "log.tsv", "query\tclicks", f"{query}\t3")
    settings = QueryLog(path="log.tsv")
    before = {"sha256": hash_file(file), **settings.list_fingerprinted({"path"})}
    added = set(fingerprint(settings, file, 0)) - before.keys() - {"seed", "version"}
    assert bool(added) is is_another


@pytest.mark.parametrize(
    ("line", "is_another"),
    [('1\t"Start', True), ('1\t"all of it"', False), ('1\t5" of rain', False)],
)
def test_identity_of_a_tsv_file_is_another_where_its_text_is(tmp_path, line, is_another):
    file = write_lines(tmp_path / "rows.tsv", "_id\ttext", line)
    identity = open_auto(file, Columns()).identity
    assert (set(identity) != {"files", "columns"}) is is_another
