"""The readers that split files into sections, by the ending of a file's name."""

import importlib.util
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from distill.corpus.sections.man_page import ENDING, read_man_page
from distill.corpus.sections.markup import read_html, read_markdown, read_plain, read_rst
from distill.corpus.sections.outline import TextSection
from distill.corpus.sections.pdf import read_pdf
from distill.corpus.sections.word import read_word
from distill.errors import UserError, install_command, quote_fault
from distill.files.read import decode

_TEXTS: dict[str, Callable[[str], list[TextSection]]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".rst": read_rst,
    ".txt": read_plain,
    ".text": read_plain,
    ".debian": read_plain,  # README.Debian and the like
    "": read_plain,
}
_DOCUMENTS: dict[str, Callable[[bytes, str], list[TextSection]]] = {
    ".pdf": read_pdf,
    ".docx": read_word,
}
_MODULES = {".pdf": "pypdf", ".docx": "mammoth"}
_REMOVE = "take it out of the folder"
ENDINGS = {*_TEXTS, *_DOCUMENTS}


def is_binary(ending: str) -> bool:
    """Return whether files with this ending are documents in a binary form, such as PDF."""
    return ending in _DOCUMENTS


def can_hold_html(ending: str) -> bool:
    """Return whether files with this ending are HTML, or Markdown, which may hold some."""
    return _TEXTS.get(ending) in (read_html, read_markdown)


def read_sections(data: bytes, ending: str, where: str) -> list[TextSection]:
    """Read the sections of a file.

    Args:
        ending: of the file's name, such as `.md`, in small letters.

    Raises:
        UserError: if it is not what its name says, or what reads it refuses it.
    """
    try:
        return _parse(data, ending, where)
    except (UserError, MemoryError):
        raise
    except RecursionError:
        raise UserError(where, "is nested too deep", _REMOVE) from None
    except Exception as fault:  # odd markup makes parsers raise anything
        what = f"cannot be read as text ({quote_fault(fault)})"
        raise UserError(where, what, f"fix what it says, or {_REMOVE}") from fault


def _parse(data: bytes, ending: str, where: str) -> list[TextSection]:
    if ending in _DOCUMENTS:
        return _DOCUMENTS[ending](data, where)
    text = decode(data, where).replace("\r\n", "\n").replace("\r", "\n")
    if ending in _TEXTS:
        return _TEXTS[ending](text)
    return read_man_page(text, where)


def list_missing_readers(endings: Iterable[str]) -> list[str]:
    """List the programs and modules that are needed to read files with these endings, and are not
    installed."""
    return [name for name in list_needed_readers(endings) if not _is_installed(name)]


def list_needed_readers(endings: Iterable[str]) -> list[str]:
    """List the programs and modules that are needed to read files with these endings, beside those
    that every installation has."""
    present = set(endings)
    modules = [module for ending, module in _MODULES.items() if ending in present]
    has_pages = any(ENDING.fullmatch(ending) for ending in present)
    return [*modules, *(["groff"] if has_pages else [])]


def _is_installed(name: str) -> bool:
    if name == "groff":
        return shutil.which(name) is not None
    return importlib.util.find_spec(name) is not None


def check_readers(where: str, endings: dict[Path, str], otherwise: str) -> None:
    """Check that what reads these files is installed.

    Args:
        endings: of each file's name.
        otherwise: another way out, in words.

    Raises:
        UserError: naming the files, how many they are, and what to install.
    """
    for ending, module in _MODULES.items():
        files = [file for file, its in endings.items() if its == ending]
        if files and importlib.util.find_spec(module) is None:
            what = f"holds {_count(files, ending)}; {module}, which reads them, is not installed"
            raise UserError(where, what, f"{install_command('documents')}; or {otherwise}")
    pages = [file for file, its in endings.items() if ENDING.fullmatch(its)]
    if pages and shutil.which("groff") is None:
        what = f"holds {_count(pages, 'manual page')}; groff, which reads them, is not installed"
        raise UserError(where, what, f"apt install groff-base; or {otherwise}")


def _count(files: Iterable[Path], kind: str) -> str:
    names = [file.name for file in files]
    files_word = "file" if kind.startswith(".") else ""
    kinds = f"{kind} {files_word}".strip() + ("s" if len(names) > 1 else "")
    return f"{len(names)} {kinds} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
