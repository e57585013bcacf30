"""What a corpus of files is known by: its identity changes whenever its documents would."""

import os
from pathlib import Path

import pytest
from helpers.corpus_of_four import make_corpus_recipe, make_run_passages

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns, CorpusSource, Document


def write_row(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"_id,text\n{file.parent.name},{text}\n", encoding="utf-8")


def open_usual(path: Path) -> CorpusSource:
    return open_auto(path, Columns())


@pytest.mark.parametrize("edited", ["a", "b"])
@pytest.mark.parametrize("named", ["", "?"])
def test_identity_changes_with_each_of_two_files_of_one_name(tmp_path, named, edited):
    """The hash of the second one stood for both."""
    for folder in ("a", "b"):
        write_row(tmp_path / folder / "data.csv", "They dance.")
    before = open_usual(tmp_path / named).identity
    write_row(tmp_path / edited / "data.csv", "They sleep.")
    assert open_usual(tmp_path / named).identity != before


def test_identity_of_a_folder_names_its_files_as_that_of_one_file_does(tmp_path):
    write_row(tmp_path / "data.csv", "They dance.")
    assert list(open_usual(tmp_path).identity["files"]) == ["data.csv"]
    assert open_usual(tmp_path / "data.csv").identity == open_usual(tmp_path).identity


@pytest.mark.bad_input("corpus", "a table's name that is no UTF-8", "read, the name is escaped")
def test_table_whose_name_is_no_utf_8_is_read(tmp_path):
    """Passages of it could not be written."""
    folder = tmp_path / "corpus"
    write_row(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv")), "They dance.")
    (document,) = open_usual(folder).read()
    assert isinstance(document, Document)
    assert document.source == r"caf\udce9"
    recipe = make_corpus_recipe(source="auto", path=str(folder), min_words=1)
    _, rows = make_run_passages(tmp_path / "run", recipe)
    assert [row["text"] for row in rows] == ["They dance."]
