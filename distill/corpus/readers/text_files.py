"""A file or folder of texts: Markdown, HTML, reStructuredText, plain text, manual pages, PDF and
Word, also compressed."""

import mimetypes
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill.corpus.faults import RowFaults
from distill.corpus.readers.jsonl import hash_file
from distill.corpus.readers.packed import open_unpacked, strip_packed_ending
from distill.corpus.readers.rows import NO_TEXT, CorpusSource, Document, SkippedRow
from distill.corpus.readers.tables import detect_form
from distill.corpus.sections.formats import (
    ENDINGS,
    check_readers,
    is_binary,
    list_missing_readers,
    read_sections,
)
from distill.corpus.sections.man_page import ENDING, is_man_page
from distill.errors import UserError

BETWEEN_HEADINGS = " > "
UNREADABLE = "cannot be read as text"
_SKIP = "leave such files out by --set corpus.unreadable=skip"
_KNOWN_TYPES = mimetypes.MimeTypes()
"""Those that Python knows: what else a machine knows would make its corpus another one."""
_README = re.compile(r"(readme|news)\.", re.IGNORECASE)
"""Begins the name of a text, whatever follows: README.source, NEWS.old."""
_VERSION = 1
"""Raised whenever the same files would give other documents."""


def is_text_file(path: Path) -> bool:
    """Return whether a file is a text by its ending; of those of manual pages (`.1`) by its content
    too, for such are those of old logs."""
    ending = get_ending(path)
    return ending in ENDINGS or (ENDING.fullmatch(ending) is not None and _is_man_page(path))


def _is_man_page(path: Path) -> bool:
    try:
        with open_unpacked(path) as source:
            return is_man_page(source.read().decode("utf-8", "replace"))
    except UserError:
        return False


def get_ending(path: Path) -> str:
    """Return the ending of a file's name, unpacked and in small letters: `.md` of `a.MD.gz`. That
    of a README is none where it names no format: `README.source`."""
    name = Path(strip_packed_ending(path))
    ending = name.suffix.lower()
    is_format = ending in ENDINGS or ENDING.fullmatch(ending) or detect_form(path) is not None
    is_known = is_format or _KNOWN_TYPES.guess_type(name.name)[0] is not None
    if _README.match(name.name) and not is_known:
        return ""
    return ending


def open_texts(root: Path, files: Sequence[Path], skips: bool = False) -> CorpusSource:
    """Open a corpus of text files, a document for each section.

    A document's id is its file's path below `root`, with the section's number behind a colon where
    there are several; its title is the headings above it, outermost first; its source is the file.

    Args:
        skips: whether files that cannot be read are left out, and said, instead of refused.

    Raises:
        UserError: if what reads PDF or Word files or manual pages is needed and not installed.
    """
    folder = root if root.is_dir() else root.parent
    if not skips:
        check_readers(str(root), {file: get_ending(file) for file in files}, _SKIP)
    identity: dict[str, Any] = {
        "texts": {_make_name(file, folder): hash_file(file) for file in files},
        "version": _VERSION,
    }
    if skips and (missing := list_missing_readers(map(get_ending, files))):
        identity["unread for lack of"] = missing  # once it is installed there are more documents
    return CorpusSource(str(root), identity, lambda: _read(folder, files, skips))


def _make_name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _read(folder: Path, files: Sequence[Path], skips: bool) -> Iterator[Document | SkippedRow]:
    """Read the documents of text files, or skip those that are no text.

    Raises:
        UserError: after the last file, naming the first that are no text; with `skips`, only if
            all are.
    """
    faults, read = RowFaults(), 0
    for file in files:
        name = _make_name(file, folder)
        try:
            documents = list(_read_documents(file, name))
        except UserError as fault:
            faults.add(UserError(fault.where, fault.what, f"{fault.remedy}; or {_SKIP}"))
            if skips:
                yield SkippedRow(fault.where, name, UNREADABLE, "file")
            continue
        read += 1
        if documents:
            yield from documents
        else:
            yield SkippedRow(str(file), name, NO_TEXT, "file")
    if not skips or not read:
        faults.raise_any()


def _read_documents(file: Path, name: str) -> Iterator[Document]:
    ending = get_ending(file)
    with open_unpacked(file, text=not is_binary(ending)) as source:
        data = source.read()
    try:
        sections = read_sections(data, ending, str(file))
    except RecursionError:
        raise UserError(str(file), "is nested too deep", "take it out of the folder") from None
    for number, section in enumerate(sections):
        id_ = name if len(sections) == 1 else f"{name}:{number}"
        yield Document(id_, BETWEEN_HEADINGS.join(section.headings), section.text, name, whole=name)
