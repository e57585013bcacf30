"""PDF files, Word files and manual pages as sections."""

import shutil

import pytest
from helpers.document_files import make_docx, make_pdf

from distill.corpus.readers.text_files import open_texts
from distill.corpus.sections.formats import check_readers
from distill.corpus.sections.man_page import is_man_page, read_man_page
from distill.corpus.sections.outline import TextSection
from distill.corpus.sections.pdf import read_pdf
from distill.corpus.sections.word import read_word
from distill.errors import UserError

needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")

PAGE = """.\\" a comment
.TH DANCE 7 2026 bees
.SH NAME
dance \\- tell where flowers are
.SH DESCRIPTION
Bees
.B dance
in the dark, and a line that is longer than a terminal is wide is not broken by it at all.
.PP
They do so always.
.so /etc/hostname
"""


def test_pdf_has_its_title_and_its_paragraphs():
    lines = ["Bees dance in the dark hive, and others fol-", "low them.", "They do so always."]
    assert read_pdf(make_pdf([lines], title="Bees"), "a.pdf") == [
        TextSection(
            ("Bees",), "Bees dance in the dark hive, and others follow them.\n\nThey do so always."
        )
    ]


def test_bookmarks_of_a_pdf_that_stand_in_its_text_are_headings():
    pages = [["1 Food", "Nectar."], ["Pollen, too.", "Homes", "Hives."]]
    bookmarks = [("Food", 0), ("Homes", 1), ("Not there", 1)]
    assert read_pdf(make_pdf(pages, "Bees", bookmarks), "a.pdf") == [
        TextSection(("Bees", "Food"), "Nectar.\n\nPollen, too."),
        TextSection(("Bees", "Homes"), "Hives."),
    ]


def test_running_heads_and_page_numbers_of_a_pdf_are_left_out():
    pages = [["Of bees", f"Sentence {word} here.", f"{n}"] for n, word in enumerate("abcd")]
    text = "\n\n".join(f"Sentence {word} here." for word in "abcd")
    assert read_pdf(make_pdf(pages), "a.pdf") == [TextSection((), text)]


@pytest.mark.bad_input("text file", "a PDF of scanned pages, without text", "refused, with remedy")
def test_pdf_without_text_is_refused():
    with pytest.raises(UserError, match=r"a.pdf: holds no text on its 2 pages.*\n.*ocrmypdf"):
        read_pdf(make_pdf([[], []]), "a.pdf")


@pytest.mark.bad_input("text file", "a PDF behind a password", "refused, with remedy")
def test_encrypted_pdf_is_refused_unless_it_opens_without_a_password():
    with pytest.raises(UserError, match=r"is encrypted"):
        read_pdf(make_pdf([["They dance."]], password="honey"), "a.pdf")
    assert read_pdf(make_pdf([["They dance."]], password=""), "a.pdf")[0].text == "They dance."


@pytest.mark.bad_input("text file", "a damaged PDF or Word file", "refused, with remedy")
def test_damaged_documents_are_refused():
    with pytest.raises(UserError, match="is not a readable PDF"):
        read_pdf(make_pdf([["They dance."]])[:90], "a.pdf")
    with pytest.raises(UserError, match=r"is not a .docx file"):
        read_word(b"They dance.", "a.docx")
    with pytest.raises(UserError, match=r"is encrypted, or of Word before 2007"):
        read_word(b"\xd0\xcf\x11\xe0\xa1\xb1", "a.docx")
    half = make_docx([("Normal", "They dance.")]).replace(
        b"word/document.xml", b"word/documemt.xml"
    )
    with pytest.raises(UserError, match=r"is not a readable .docx file"):
        read_word(half, "a.docx")


def test_word_file_has_its_headings():
    paragraphs = [("Title", "Bees"), ("Normal", "They dance."), ("Heading 1", "Food")]
    paragraphs += [("Normal", "Nectar."), ("Normal", "Pollen, too."), ("Heading 2", "Winter")]
    paragraphs += [("Normal", "Honey."), ("Heading 1", "Homes"), ("Normal", "Hives.")]
    assert read_word(make_docx(paragraphs), "a.docx") == [
        TextSection(("Bees",), "They dance."),
        TextSection(("Bees", "Food"), "Nectar.\n\nPollen, too."),
        TextSection(("Bees", "Food", "Winter"), "Honey."),
        TextSection(("Bees", "Homes"), "Hives."),
    ]


@needs_groff
def test_manual_page_has_its_headings_and_reads_no_other_file():
    assert is_man_page(PAGE)
    assert read_man_page(PAGE, "dance.7") == [
        TextSection(("dance(7)", "Name"), "dance - tell where flowers are"),
        TextSection(
            ("dance(7)", "Description"),
            "Bees dance in the dark, and a line that is longer than a terminal is wide is not "
            "broken by it at all.\n\nThey do so always.",
        ),
    ]
    assert not is_man_page("2026-11-28 started\n.\n")


@needs_groff
@pytest.mark.parametrize(
    "request_of_file",
    [
        ".if n .so {}",
        ".do so {}",
        ".als hidden so\n.hidden {}",
        ".ds hidden so\n.\\*[hidden] {}",
        ".nx {}",
        ".trf {}",
        ".if n .mso {}",
        ".ds hidden mso\n.\\*[hidden] {}",
    ],
)
@pytest.mark.bad_input("corpus", "a manual page that reads another file", "the file is not read")
def test_manual_page_reads_no_file_by_a_hidden_request(tmp_path, request_of_file):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret\n")
    page = f"{PAGE}\n{request_of_file.format(secret)}\nBees sleep.\n"
    text = str(read_man_page(page, "dance.7"))
    assert "secret" not in text
    assert "Bees sleep." in text


@needs_groff
@pytest.mark.parametrize(
    "before",
    [".ds hidden mso\n.\\*[hidden] {}\n", ".am TH\n.mso {}\n..\n", ".rn mso other\n.other {}\n"],
)
def test_manual_page_runs_no_request_before_its_title(tmp_path, before):
    secret = tmp_path / "secret.txt"
    secret.write_text(".SH NAME\nthe secret\n")
    text = str(read_man_page(before.format(secret) + PAGE, "dance.7"))
    assert "secret" not in text
    assert "They do so always." in text


@needs_groff
def test_continued_title_of_a_manual_page_hides_no_request(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret\n")
    page = f".TH DANCE 7 \\\n.SH NAME\nBees sleep.\n.if n .mso {secret}\n"
    text = str(read_man_page(page, "dance.7"))
    assert "secret" not in text
    assert "Bees sleep." in text


@needs_groff
@pytest.mark.bad_input("corpus", "a manual page that prints the environment", "nothing is printed")
def test_manual_page_does_not_see_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    text = str(read_man_page(PAGE + "\n.PP\nMy key is \\V[OPENAI_API_KEY].\n", "dance.7"))
    assert "sk-secret" not in text
    assert "My key is" in text


def test_reader_that_was_missing_when_its_files_were_skipped_is_part_of_the_identity(
    tmp_path, monkeypatch
):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    files = [tmp_path / "a.pdf"]
    installed = open_texts(tmp_path, files, skips=True).identity
    assert installed == open_texts(tmp_path, files).identity
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert open_texts(tmp_path, files, skips=True).identity != installed


@pytest.mark.bad_input("corpus", "PDF files without the extra `documents`", "count, and remedy")
def test_missing_reader_is_named_with_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    files = {tmp_path / f"{n}.pdf": ".pdf" for n in range(4)}
    with pytest.raises(UserError, match=r"4 .pdf files \(.*pypdf.*not installed\n.*documents"):
        check_readers("docs", files, "skip them")
