"""PDF files as sections, by pypdf: the document's title, and the bookmarks that stand as a line of
their own in the text."""

import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from distill.corpus.sections.outline import Outline, TextSection
from distill.errors import UserError, need, quote_fault

if TYPE_CHECKING:
    from pypdf import PdfReader

Heading = tuple[int, str]
"""A bookmark: its level, from 1, and its title."""
_SHORT = 0.6
"""A line shorter than this part of its page's longest line ends its paragraph."""
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl"}
_NUMBER = re.compile(r"[\divxlc.]+\s+", re.IGNORECASE)
_FEWEST_PAGES = 3
"""Number of pages from which lines that most of them begin or end with count as running heads."""


def read_pdf(data: bytes, where: str) -> list[TextSection]:
    """Read the sections of a PDF file, without page numbers and running heads.

    Raises:
        UserError: if it is encrypted, damaged, or holds no text, as scanned pages do.
    """
    need("pypdf", "documents")
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = _open(data, where)
        pages = [_split_lines(page.extract_text()) for page in reader.pages]
        title, headings = _read_title(reader), _read_headings(reader)
    except UserError:
        raise
    except Exception as fault:  # damaged files raise anything
        remedy = "open it in a viewer and save it again"
        raise UserError(where, f"is not a readable PDF ({quote_fault(fault)})", remedy) from fault
    if not any(pages):
        raise UserError(
            where,
            f"holds no text on its {len(pages)} pages: they are pictures, as of a scan",
            "recognise its text first, such as by: ocrmypdf IN.pdf OUT.pdf",
        )
    outline = Outline(title)
    for number, lines in enumerate(_remove_running_heads(pages)):
        _add_page(outline, lines, headings.get(number, []))
    outline.close()
    return outline.sections


def _open(data: bytes, where: str) -> "PdfReader":
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UserError(
            where,
            "is encrypted and opens with its password alone",
            "save it without a password, such as by: qpdf --decrypt --password=... IN.pdf OUT.pdf",
        )
    return reader


def _read_title(reader: "PdfReader") -> str:
    title = reader.metadata.title if reader.metadata else None
    return " ".join((title or "").split())


def _read_headings(reader: "PdfReader") -> dict[int, list[Heading]]:
    """Return the bookmarks of each page, in their order."""
    headings: dict[int, list[Heading]] = {}
    for level, bookmark in _walk(reader.outline, 1):
        page = reader.get_destination_page_number(bookmark)
        if page is not None:
            headings.setdefault(page, []).append((level, str(bookmark.title)))
    return headings


def _walk(bookmarks: Sequence[Any], level: int) -> Iterator[tuple[int, Any]]:
    for bookmark in bookmarks:
        if isinstance(bookmark, list):
            yield from _walk(bookmark, level + 1)
        else:
            yield level, bookmark


def _split_lines(text: str) -> list[str]:
    lines = (" ".join(line.translate(_LIGATURES).split()) for line in text.splitlines())
    return [line for line in lines if line]


def _remove_running_heads(pages: Sequence[list[str]]) -> Iterator[list[str]]:
    """Yield the pages' lines, but for the first and last of each that most pages have, digits
    aside."""
    ends = Counter(
        key for lines in pages for key in {_remove_digits(line) for line in _list_end_lines(lines)}
    )
    most = max(_FEWEST_PAGES, len(pages) // 2 + 1)
    for lines in pages:
        while lines and ends[_remove_digits(lines[0])] >= most:
            lines = lines[1:]
        while lines and ends[_remove_digits(lines[-1])] >= most:
            lines = lines[:-1]
        yield lines


def _list_end_lines(lines: Sequence[str]) -> list[str]:
    return [*lines[:2], *lines[-2:]]


def _remove_digits(line: str) -> str:
    return re.sub(r"\d+", "#", line)


def _add_page(outline: Outline, lines: Sequence[str], headings: list[Heading]) -> None:
    longest, waiting = max(map(len, lines), default=0), list(headings)
    paragraph = ""
    for line in lines:
        heading = next((one for one in waiting if _is_heading(line, one[1])), None)
        if heading is not None:
            outline.add(paragraph)
            outline.open(*heading)
            waiting.remove(heading)
            paragraph = ""
            continue
        paragraph = _join(paragraph, line)
        if len(line) < _SHORT * longest:
            outline.add(paragraph)
            paragraph = ""
    outline.add(paragraph)


def _is_heading(line: str, title: str) -> bool:
    """Return whether a line is a bookmark's title, with or without a number before it."""
    wanted = " ".join(title.split()).casefold()
    return line.casefold() == wanted or _NUMBER.sub("", line.casefold(), count=1) == wanted


def _join(paragraph: str, line: str) -> str:
    """Join a paragraph with its next line; a word that was cut between them is whole again."""
    if re.search(r"[^\W\d_]{2}-$", paragraph) and line[:1].islower():
        return paragraph[:-1] + line
    return f"{paragraph} {line}".strip()
