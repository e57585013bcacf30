"""A corpus of whatever form lies at a path."""

import bz2
import gzip
import json
import lzma
import os
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from helpers.document_files import make_docx, make_pdf
from helpers.passages import make_passages

from distill.cli import cli
from distill.corpus.passages import open_source
from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns, Document, SkippedRow
from distill.errors import UserError
from distill.recipe import Corpus, Recipe, load_recipe
from distill.store.run import Run
from distill.store.tables import PASSAGES, read_rows

ROWS = [
    {"_id": "a", "title": "Bees", "text": "They dance, and others follow."},
    {"_id": "b", "title": "Ice", "text": 'Slow "rivers",\nas it were.'},
]

USUAL = Columns()
EXPECTED = [tuple(row.values()) for row in ROWS]
FORMS = ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.bz2", "rows.jsonl.xz", "rows.ndjson.zst"]
FORMS += ["rows.json", "rows.csv"]
FORMS += ["semicolons.csv", "tabs.csv", "rows.parquet", "rows.parquet.gz", "rows.parquet.zst"]


def read(path: Path, columns: Columns = USUAL, skips: bool = False) -> list[tuple[str, ...]]:
    found = open_auto(path, columns, skips).read()
    return [row[:3] for row in found if isinstance(row, Document)]


USUAL = Columns()


def write_csv(file: Path, delimiter: str) -> None:
    lines = [["_id", "title", "text"], *(list(row.values()) for row in ROWS)]
    quoted = (['"' + field.replace('"', '""') + '"' for field in line] for line in lines)
    file.write_text("\n".join(delimiter.join(line) for line in quoted), encoding="utf-8-sig")


def write_all(folder: Path) -> dict[str, Path]:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (folder / "rows.jsonl").write_bytes(lines)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "rows.jsonl.bz2").write_bytes(bz2.compress(lines))
    (folder / "rows.jsonl.xz").write_bytes(lzma.compress(lines))
    with pa.CompressedOutputStream(str(folder / "rows.ndjson.zst"), "zstd") as out:
        out.write(lines)
    (folder / "rows.json").write_text(json.dumps(ROWS), encoding="utf-8")
    write_csv(folder / "rows.csv", ",")
    write_csv(folder / "semicolons.csv", ";")
    write_csv(folder / "tabs.csv", "\t")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet")
    parquet = (folder / "rows.parquet").read_bytes()
    (folder / "rows.parquet.gz").write_bytes(gzip.compress(parquet))
    with pa.CompressedOutputStream(str(folder / "rows.parquet.zst"), "zstd") as out:
        out.write(parquet)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", FORMS)
def test_rows_of_every_form_give_the_same_documents(tmp_path, name):
    assert read(write_all(tmp_path)[name]) == EXPECTED


def test_jsonl_corpus_has_the_same_fingerprint_as_by_its_own_source(tmp_path):
    file = write_all(tmp_path)["rows.jsonl"]
    sources = [
        open_source(Corpus(source=source, path=str(file)), 13) for source in ("auto", "jsonl")
    ]
    assert sources[0].identity == sources[1].identity


def test_columns_are_found_by_their_usual_names(tmp_path, caplog):
    file = tmp_path / "docs.csv"
    file.write_text("DocNo,Headline,Abstract,n\n7,Bees,They dance.,1\n", encoding="utf-8")
    assert read(file) == [("7", "Bees", "They dance.")]
    assert "columns 'DocNo', 'Headline', 'Abstract'" in caplog.text


@pytest.mark.bad_input("corpus", "a table with no column that may be the text", "columns listed")
def test_columns_that_are_not_found_are_listed(tmp_path):
    file = tmp_path / "docs.csv"
    file.write_text("docno,prose\n7,They dance.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"its columns are \['docno', 'prose'\].*\n.*text_column"):
        read(file)
    assert read(file, Columns(text="prose")) == [("7", "", "They dance.")]


@pytest.mark.bad_input("corpus", "a folder of tables, one with other columns", "columns listed")
@pytest.mark.parametrize("name", ["b.csv", "b.jsonl"])
def test_table_with_other_columns_than_the_first_is_refused(tmp_path, name):
    """Its rows were left out, and told as rows without text alone."""
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.csv").write_text("id,body\n1,They dance.\n", encoding="utf-8")
    row = {"id": "2", "text": "Slow rivers."}
    texts = {"b.csv": "id,text\n2,Slow rivers.\n", "b.jsonl": json.dumps(row)}
    (folder / name).write_text(texts[name], encoding="utf-8")
    with pytest.raises(UserError, match=r"no column 'body'.*columns are \['id', 'text'\]") as fault:
        read(folder)
    assert fault.value.where == str(folder / name)


@pytest.mark.bad_input("corpus", "a folder of tables, one without titles", "read, the file named")
def test_table_without_the_titles_that_others_have_is_named(tmp_path, caplog):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.csv").write_text("id,title,text\n1,Bees,They dance.\n", encoding="utf-8")
    (folder / "b.csv").write_text("id,headline,text\n2,Ice,Slow rivers.\n", encoding="utf-8")
    assert read(folder) == [("1", "Bees", "They dance."), ("2", "", "Slow rivers.")]
    assert "without the column 'title', which other files have" in caplog.text
    assert "(b.csv)" in caplog.text


@pytest.mark.bad_input("corpus", "ids of users in a column uid", "refused, with the remedy")
def test_rows_are_numbered_where_a_column_like_that_of_ids_holds_none(tmp_path):
    file = tmp_path / "posts.csv"
    file.write_text("uid,text\nann,They dance.\nann,Slow rivers.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"'uid' holds none, set corpus.id_column: none"):
        read(file)
    numbered = [("1", "", "They dance."), ("2", "", "Slow rivers.")]
    assert read(file, Columns(id="none")) == numbered
    pq.write_table(
        pa.table({"uid": ["a", "a"], "text": [row[2] for row in numbered]}), tmp_path / "p.parquet"
    )
    assert read(tmp_path / "p.parquet", Columns(id="none")) == numbered
    file.write_text("none,text\nann,They dance.\nann,Slow rivers.\n", encoding="utf-8")
    assert read(file, Columns(id="none")) == numbered


@pytest.mark.bad_input(
    "corpus", "an archive, a spreadsheet, an old Word file", "what to do instead"
)
@pytest.mark.parametrize(
    ("name", "remedy"),
    [("a.zip", "unpack"), ("a.tar.gz", "unpack"), ("a.XLSX", "as CSV"), ("a.doc", "as .docx")],
)
def test_file_of_another_form_is_refused_with_what_to_do(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(UserError) as fault:
            read(path)
        assert remedy in fault.value.remedy


@pytest.mark.bad_input("corpus", "a title column that is named and not there", "columns listed")
def test_named_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no column 'headlin'"):
        read(write_all(tmp_path)["rows.csv"], Columns(title="headlin"))


@pytest.mark.bad_input("corpus", "a CSV file with a broken row", "refused, row and remedy")
def test_broken_row_of_a_csv_file_is_named(tmp_path):
    file = tmp_path / "docs.csv"
    file.write_text('text,title\n"a ""b"" c",t\none,two,three\nx,y\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"row 2.*has 3 fields where the header has 2"):
        read(file)
    file.write_text('text,title\n"a"b,t\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"row 1.*cannot be read"):
        read(file)


@pytest.mark.bad_input("corpus", "empty rows that a spreadsheet wrote", "left out and counted")
def test_empty_rows_of_a_spreadsheet_are_left_out(tmp_path):
    """One as wide as the header was refused: it had no id."""
    file = tmp_path / "docs.csv"
    file.write_text("_id,text\n1,They dance.\n,\n,,\n ,\n2,Slow rivers.\n,\n", encoding="utf-8")
    assert read(file) == [("1", "", "They dance."), ("2", "", "Slow rivers.")]
    skipped = [row for row in open_auto(file, USUAL).read() if isinstance(row, SkippedRow)]
    assert [row.place.rpartition(" ")[2] for row in skipped] == ["2", "4", "6"]
    file.write_text("title,text\nBees,They dance.\n,\nIce,Slow rivers.\n", encoding="utf-8")
    assert [row[0] for row in read(file)] == ["1", "3"]  # numbers are those of the rows


def write_texts(folder: Path) -> None:
    (folder / "guide" / ".git").mkdir(parents=True)
    (folder / "guide" / "bees.md").write_text("# Bees\nThey dance.\n## Food\nNectar.")
    (folder / "guide" / ".git" / "x.txt").write_text("hidden")
    (folder / "ice.html.gz").write_bytes(gzip.compress(b"<title>Ice</title><p>Slow rivers."))
    (folder / "README").write_text("All about nature.")
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")


def test_folder_of_texts_is_read_with_its_sub_folders(tmp_path, caplog):
    write_texts(tmp_path)
    assert read(tmp_path) == [
        ("README", "", "All about nature."),
        ("guide/bees.md:0", "Bees", "They dance."),
        ("guide/bees.md:1", "Bees > Food", "Nectar."),
        ("ice.html.gz", "Ice", "Slow rivers."),
    ]
    assert "files not read, by ending: .png 1" in caplog.text


def test_command_reads_whatever_lies_at_the_path(tmp_path):
    """And in a run that has begun, as the run's recipe says."""
    write_texts(tmp_path / "texts")
    command = ["corpus", "--run", str(tmp_path / "run"), "--path", str(tmp_path / "texts")]
    command += ["--set", "corpus.min_words=1"]
    for _ in range(2):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        assert load_recipe(tmp_path / "run" / "recipe.yaml").corpus.source == "auto"
    assert len(list(read_rows(PASSAGES, tmp_path / "run" / "passages"))) == 4


def test_run_inside_its_corpus_is_no_part_of_it(tmp_path):
    write_texts(tmp_path)
    before = open_auto(tmp_path, Columns()).identity
    run = tmp_path / "artifacts" / "mine"
    with Run(run):
        (run / "recipe.yaml").write_text("name: mine\n")
        (run / "report.md").write_text("# A report\n\nOf the run.\n")
        (run / "log.jsonl").write_text('{"message": "begun"}\n' * 1000)
        assert open_auto(tmp_path, Columns()).identity == before
    assert open_auto(tmp_path, Columns()).identity == before
    assert open_auto(run / "report.md", Columns()).identity != before


def test_texts_become_passages_of_their_files(tmp_path):
    write_texts(tmp_path)
    recipe = Recipe(name="x", corpus={"source": "auto", "path": str(tmp_path), "min_words": 1})
    with Run(tmp_path / "run") as run:
        rows = make_passages(run, recipe.corpus, recipe.seed).read_rows(PASSAGES)
    assert [row["source"] for row in rows][:2] == ["README", "guide/bees.md"]


def test_readme_beside_rows_is_no_corpus(tmp_path):
    (tmp_path / "README.md").write_text("Rows.")
    lines = "".join(json.dumps(row | {"_id": f"{n}"}) + "\n" for n, row in enumerate(ROWS * 20))
    (tmp_path / "docs.jsonl").write_text(lines)
    assert len(read(tmp_path)) == 40


@pytest.mark.bad_input("corpus", "a folder of rows and of texts alike", "refused, both named")
def test_folder_of_rows_and_texts_is_refused(tmp_path):
    write_texts(tmp_path)
    (tmp_path / "docs.csv").write_text("text\nThey dance.\nSlow rivers.\nAll of nature.\n")
    with pytest.raises(UserError, match=r"both rows \(docs.csv\) and texts \(README, "):
        read(tmp_path)


@pytest.mark.bad_input("corpus", "an empty folder", "refused, what is read is told")
def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no file\n.*these are read"):
        read(tmp_path)


@pytest.mark.bad_input("corpus", "a folder of pictures", "refused, named")
def test_folder_without_texts_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"no file that can be read, but photo.png"):
        read(tmp_path)


@pytest.mark.bad_input("text file", "no text, or in Latin 1", "all named; or left out")
def test_files_that_are_no_text_are_named_together_or_left_out(tmp_path):
    write_texts(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_bytes(b"\0\1\2")
    with pytest.raises(UserError, match=r"a.txt, row 1(.|\n)*b.txt(.|\n)*corpus.unreadable=skip"):
        read(tmp_path)
    assert len(read(tmp_path, skips=True)) == 4
    found = list(open_auto(tmp_path, Columns(), True).read())
    assert [row.id for row in found if isinstance(row, SkippedRow)] == ["a.txt", "b.txt"]


@pytest.mark.bad_input("text file", "none of the files is text, with skip", "refused")
def test_folder_without_text_files_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match="not UTF-8"):
        read(tmp_path, skips=True)


@pytest.mark.bad_input("corpus", "a compressed file that is cut off", "refused")
def test_compressed_file_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROWS[0]).encode() * 99)[:-9])
    with pytest.raises(UserError, match="cannot be decompressed as gzip"):
        read(tmp_path)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_texts_of_every_compression_give_the_same_document(tmp_path, ending):
    file = tmp_path / f"bees.md{ending}"
    packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    with pa.CompressedOutputStream(str(file), "zstd") as out:
        out.write(b"# Bees\nThey dance.")
    if ending in packers:
        file.write_bytes(packers[ending](b"# Bees\nThey dance."))
    assert read(file) == [(file.name, "Bees", "They dance.")]


@pytest.mark.bad_input("text file", "half a surrogate pair, of a PDF's font", "replaced, counted")
def test_half_surrogate_pairs_of_a_pdf_are_replaced(tmp_path):
    data = make_pdf([["They @ dance."]], title="Bees", code_units={"@": "d83d"})
    (tmp_path / "a.pdf").write_bytes(data)
    (document,) = open_auto(tmp_path, Columns()).read()
    assert (document.text, document.is_repaired) == ("They \ufffd dance.", True)


@pytest.mark.bad_input("text file", "a name that is no UTF-8", "read, its id has an escape there")
def test_file_whose_name_is_no_utf_8_is_read(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("# Bees\nThey dance.")
    assert read(tmp_path) == [(r"caf\udce9.md", "Bees", "They dance.")]


def test_folder_of_pdf_and_word_files_is_read(tmp_path):
    (tmp_path / "a.pdf").write_bytes(make_pdf([["They dance."]], title="Bees"))
    (tmp_path / "b.docx").write_bytes(make_docx([("Title", "Ice"), ("Normal", "Slow rivers.")]))
    (tmp_path / "c.pdf").write_bytes(make_pdf([[]]))
    with pytest.raises(UserError, match="holds no text"):
        read(tmp_path)
    assert read(tmp_path, skips=True) == [
        ("a.pdf", "Bees", "They dance."),
        ("b.docx", "Ice", "Slow rivers."),
    ]


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_manual_pages_are_read_and_old_logs_are_not(tmp_path, caplog):
    page = b".TH DANCE 7\n.SH NAME\ndance \\- tell where flowers are\n"
    (tmp_path / "dance.7.gz").write_bytes(gzip.compress(page))
    (tmp_path / "server.log.1").write_bytes(b"2026-11-28 started\n")
    (tmp_path / "alias.7").write_bytes(b".so man7/dance.7\n")
    assert read(tmp_path) == [("dance.7.gz", "dance(7) > Name", "dance - tell where flowers are")]
    (line,) = [line for line in caplog.text.splitlines() if "files not read, by ending:" in line]
    assert re.findall(r" (\d+)(?:,|$)", line) == ["1", "1"], "the log and the page that is no page"


def test_wildcards_stand_for_several_files_or_beir_folders(tmp_path):
    for language, text in (("de", "Sie tanzen."), ("en", "They dance."), ("fr", "Elles dansent.")):
        (tmp_path / language).mkdir()
        row = {"_id": "p0", "text": text}
        (tmp_path / language / "corpus.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / language / "queries.jsonl").write_text(json.dumps(row) + "\n")
        (tmp_path / f"{language}.txt").write_text(text)
    both = [("de/p0", "", "Sie tanzen."), ("en/p0", "", "They dance.")]
    assert read(tmp_path / "[de][en]") == both
    assert read(tmp_path / "[de]*.txt") == [
        ("de.txt", "", "Sie tanzen."),
        ("en.txt", "", "They dance."),
    ]
    with pytest.raises(UserError, match="no such file or folder"):
        read(tmp_path / "x*.txt")


@pytest.mark.parametrize(
    "header",
    ['"number, or code";"who, what, when";_id', "kind;_id", '"a ""b"", c, d";"e, f, g";_id'],
)
def test_commas_within_a_quoted_header_are_no_delimiters(tmp_path, header):
    file = tmp_path / "docs.csv"
    others = ["x"] * header.count(";")
    file.write_text(f"{header};text;title\n" + ";".join([*others, "a", "They dance.", "Bees"]))
    assert read(file) == [("a", "Bees", "They dance.")]


def test_readme_is_a_text_whatever_follows_its_name(tmp_path, caplog):
    write_texts(tmp_path)
    for name in ("README.source", "README.C++", "News.old", "README.png", "README.sh"):
        (tmp_path / name).write_text(f"What {name} says.", encoding="utf-8")
    (tmp_path / "README.amd64.gz").write_bytes(gzip.compress(b"What a packed one says."))
    ids = {row[0] for row in read(tmp_path)}
    assert ids >= {"README.source", "README.C++", "News.old", "README.amd64.gz"}
    assert not ids & {"README.png", "README.sh"}
    assert ".png 2, .sh 1" in caplog.text
