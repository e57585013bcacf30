"""A file or folder of texts: Markdown, HTML, reStructuredText, plain text, manual pages, PDF and
Word, also compressed."""

import mimetypes
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from distill.corpus.faults import RowFaults
from distill.corpus.readers.jsonl import hash_file
from distill.corpus.readers.packed import open_unpacked, strip_packed_ending
from distill.corpus.readers.rows import (
    NO_TEXT,
    CorpusSource,
    Document,
    SkippedRow,
    make_relative_name,
    replace_lost_characters,
)
from distill.corpus.readers.tables import detect_form
from distill.corpus.sections.formats import (
    ENDINGS,
    can_hold_html,
    check_readers,
    is_binary,
    list_missing_readers,
    read_sections,
)
from distill.corpus.sections.man_page import ENDING, is_man_page
from distill.corpus.sections.markup import has_parts_of_lines
from distill.errors import UserError

D = TypeVar("D")
BETWEEN_HEADINGS = " > "
UNREADABLE = "cannot be read as text"
_SKIP = "leave such files out by --set corpus.unreadable=skip"
_KNOWN_TYPES = mimetypes.MimeTypes()
"""Those that Python knows: what else a machine knows would make its corpus another one."""
_README = re.compile(r"(readme|news)\.", re.IGNORECASE)
"""Begins the name of a text, whatever follows: README.source, NEWS.old."""
_VERSION = 2
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


@dataclass(frozen=True)
class TextSource(CorpusSource):
    """A corpus of text files, which workers can read, too.

    Args:
        folder: that the ids of documents begin below.
        skips: whether files that cannot be read are left out, and said, instead of refused.
    """

    folder: Path = Path()
    files: Sequence[Path] = ()
    skips: bool = False


class TextFile(NamedTuple):
    """A text file to be read.

    Args:
        name: its path below the corpus' folder.
        ending: of its name, such as `.md`.
        content: its bytes, unpacked, or why there are none.
    """

    path: str
    name: str
    ending: str
    content: bytes | UserError


class FileDocuments(NamedTuple, Generic[D]):
    """The documents of a text file; `fault` says why they cannot be read: where, what, remedy."""

    path: str
    name: str
    documents: list[D]
    fault: tuple[str, str, str] | None = None


def open_texts(root: Path, files: Sequence[Path], skips: bool = False) -> TextSource:
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
        "texts": {make_relative_name(file, folder): _identify(file, skips) for file in files},
        "version": _VERSION,
    }
    if any(_has_parts_of_lines(file, folder) for file in files):
        identity["cells"] = "apart"  # other corpora, and runs on them, stay as they are
    if skips and (missing := list_missing_readers(map(get_ending, files))):
        identity["unread for lack of"] = missing  # once it is installed there are more documents

    def read() -> Iterator[Document | SkippedRow]:
        read_files = (read_file(load_file(file, folder)) for file in files)
        return join_files(read_files, skips)

    return TextSource(str(root), identity, read, folder=folder, files=files, skips=skips)


def _identify(file: Path, skips: bool) -> str:
    """Return a file's hash; of one that cannot be read, and may be left out, nothing."""
    try:
        return hash_file(file)
    except UserError:
        if skips:
            return ""
        raise


def _has_parts_of_lines(file: Path, folder: Path) -> bool:
    if not can_hold_html(get_ending(file)):
        return False
    content = load_file(file, folder).content
    return isinstance(content, bytes) and has_parts_of_lines(content)


def load_file(file: Path, folder: Path) -> TextFile:
    """Load a file's bytes, or why they cannot be read.

    Args:
        folder: of the corpus.
    """
    ending = get_ending(file)
    content: bytes | UserError
    try:
        with open_unpacked(file, text=not is_binary(ending)) as source:
            content = source.read()
    except UserError as fault:
        content = fault
    return TextFile(str(file), make_relative_name(file, folder), ending, content)


def read_file(file: TextFile) -> FileDocuments[Document]:
    """Read the documents of a file, or why it cannot be read."""
    path, name = file.path, file.name
    try:
        documents = list(_read_documents(file))
    except UserError as error:
        return FileDocuments(path, name, [], (error.where, error.what, error.remedy))
    return FileDocuments(path, name, documents)


def _read_documents(file: TextFile) -> Iterator[Document]:
    if isinstance(file.content, UserError):
        raise file.content
    sections = read_sections(file.content, file.ending, file.path)
    for number, section in enumerate(sections):
        id_ = file.name if len(sections) == 1 else f"{file.name}:{number}"
        given = BETWEEN_HEADINGS.join(section.headings), section.text
        title, text = map(replace_lost_characters, given)  # fonts of PDF files may lack them
        is_repaired = (title, text) != given
        yield Document(id_, title, text, file.name, is_repaired, whole=file.name)


def join_files(files: Iterable[FileDocuments[D]], skips: bool) -> Iterator[D | SkippedRow]:
    """Yield the documents of text files, or skip those that are no text.

    Raises:
        UserError: after the last file, naming the first that are no text; with `skips`, only if
            all are.
    """
    faults, read = RowFaults(), 0
    for path, name, documents, fault in files:
        if fault is not None:
            where, what, remedy = fault
            faults.add(UserError(where, what, f"{remedy}; or {_SKIP}"))
            if skips:
                yield SkippedRow(where, name, UNREADABLE, "file")
            continue
        read += 1
        if documents:
            yield from documents
        else:
            yield SkippedRow(path, name, NO_TEXT, "file")
    if not skips or not read:
        faults.raise_any()
