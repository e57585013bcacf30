"""A corpus of whatever form lies at a path, found out by the files' names."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from glob import has_magic
from pathlib import Path
from typing import NamedTuple

from distill.corpus.readers.beir import (
    find_corpus_file,
    is_beir,
    open_beir,
    open_beir_folders,
)
from distill.corpus.readers.jsonl import is_file
from distill.corpus.readers.rows import Columns, CorpusSource
from distill.corpus.readers.tables import detect_form, open_tables
from distill.corpus.readers.text_files import get_ending, is_text_file, open_texts
from distill.errors import UserError
from distill.files.atomic import explain_os_error

_log = logging.getLogger(__name__)
_SMALL = 0.25
"""Share of all bytes up to which a part is not the corpus."""
_KINDS = 8
"""Endings that a message names."""
_READ = (
    "folders of .txt, .md, .rst, .html, .pdf, .docx files or manual pages, "
    ".jsonl, .json, .csv, .tsv, .parquet, BEIR"
)
_UNPACK = "unpack the archive, and name the folder"
_EXPORT = "save the spreadsheet as CSV"
_PRINT = "save the document as .docx or .pdf"
_INSTEAD = {
    ".zip": _UNPACK,
    ".tar": _UNPACK,
    ".tar.gz": _UNPACK,
    ".tgz": _UNPACK,
    ".tar.xz": _UNPACK,
    ".tar.zst": _UNPACK,
    ".tar.bz2": _UNPACK,
    ".7z": _UNPACK,
    ".xlsx": _EXPORT,
    ".xls": _EXPORT,
    ".ods": _EXPORT,
    ".doc": _PRINT,
    ".odt": _PRINT,
    ".rtf": _PRINT,
}
"""What to do with files of forms that are not read, by their endings."""
_COMPRESSED = "compressed (.gz, .bz2, .xz, .zst)"


def open_auto(path: Path, columns: Columns, skips: bool = False) -> CorpusSource:
    """Open a BEIR folder, a file or folder of rows, or a file or folder of texts, searched through
    with its sub-folders. Hidden files and folders, and folders of runs, are passed over. The last
    part of the path may hold wildcards: `2026-*.csv`, or `[de][en]` for the BEIR folders `de` and
    `en`.

    Where a folder holds rows and texts, such as tables and a README, the larger part by size is the
    corpus; files that are not read are said.

    Args:
        skips: whether text files that cannot be read are left out, and said, instead of refused.

    Raises:
        UserError: if nothing is there that can be read, or neither part is clearly the larger one.
    """
    places = _expand(path)
    if all(is_beir(place) for place in places):
        return open_beir(path) if places == [path] else open_beir_folders(path, places)
    files = _sort_files(path, places)
    _warn_of_others(path, files.others)
    if files.tables:
        return open_tables(path, files.tables, columns)
    return open_texts(path if places == [path] else path.parent, files.texts, skips)


def list_corpus_files(path: Path) -> list[Path]:
    """List the files that `open_auto` reads at a path.

    Raises:
        UserError: as `open_auto` does.
    """
    places = _expand(path)
    if all(is_beir(place) for place in places):
        return [find_corpus_file(place) for place in places]
    files = _sort_files(path, places)
    return files.tables or files.texts


class _SortedFiles(NamedTuple):
    """The files of a corpus, of which either `tables` or `texts` is empty, and the other ones."""

    tables: list[Path]
    texts: list[Path]
    others: list[Path]


def _sort_files(path: Path, places: list[Path]) -> _SortedFiles:
    files = sorted(file for place in places for file in _list_files(place))
    tables = [file for file in files if detect_form(file) is not None]
    texts = [file for file in files if is_text_file(file)]
    if not tables and not texts:
        raise _refuse(path, files)
    if _is_larger(path, texts, tables):
        tables = []
    else:
        texts = []
    read = {*tables, *texts}
    return _SortedFiles(tables, texts, [file for file in files if file not in read])


def _refuse(path: Path, files: list[Path]) -> UserError:
    """Return the error for a place where nothing can be read, with the remedy for what people name
    most often: an archive or a spreadsheet."""
    read = f"these are read: {_READ}; also {_COMPRESSED}"
    if not files:
        return UserError(str(path), "holds no file", read)
    names = [file.name.lower() for file in files]
    instead = {how for ending, how in _INSTEAD.items() for name in names if name.endswith(ending)}
    remedy = "; ".join([*sorted(instead), read])
    if files == [path]:
        return UserError(str(path), "is of a form that is not read", remedy)
    return UserError(str(path), f"holds no file that can be read, but {_join_names(files)}", remedy)


def _expand(path: Path) -> list[Path]:
    """Return the files and folders that a path with wildcards in its last part stands for."""
    if path.exists() or not has_magic(path.name):
        return [path]
    return sorted(path.parent.glob(path.name)) or [path]


def _is_larger(path: Path, texts: list[Path], tables: list[Path]) -> bool:
    """Return whether the corpus is the texts and not the tables."""
    of_texts, of_tables = (sum(f.stat().st_size for f in part) for part in (texts, tables))
    if min(of_texts, of_tables) > _SMALL * (of_texts + of_tables):
        raise UserError(
            str(path),
            f"holds both rows ({_join_names(tables)}) and texts ({_join_names(texts)})",
            "name the one file or folder that is the corpus in corpus.path",
        )
    return of_texts > of_tables or not tables


def _warn_of_others(path: Path, others: list[Path]) -> None:
    kinds = Counter(get_ending(file) or "(none)" for file in others)
    if kinds:
        named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(_KINDS))
        _warn_once(f"{path}: files not read, by ending: {named}")


@cache
def _warn_once(message: str) -> None:
    """Warn once in a process: a command opens its corpus several times."""
    _log.warning("%s", message)


def _list_files(path: Path) -> list[Path]:
    if is_file(path):
        return [path]
    try:
        found = sorted(_walk(path))
        files = [file for file in found if file.is_file()]
        _warn_of_links(path, [one for one in found if one.is_symlink() and not one.is_file()])
    except OSError as fault:
        raise explain_os_error(fault) from fault
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder and those below it, and links to folders, which are not followed.

    Raises:
        OSError: for a folder that cannot be read, without which the corpus would be another one.
    """
    for place, folders, names in os.walk(folder, onerror=_raise_fault):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _is_run(Path(place, name))
        )
        links = (name for name in folders if Path(place, name).is_symlink())
        yield from (Path(place, name) for name in [*names, *links] if not name.startswith("."))


def _raise_fault(fault: OSError) -> None:
    raise fault


def _warn_of_links(path: Path, links: list[Path]) -> None:
    if links:
        what = "links not followed, for they lead to folders or to nothing"
        _warn_once(f"{path}: {what}: {_join_names(links)}")


def _is_run(folder: Path) -> bool:
    """Return whether a folder is a run's: its log and report are not part of the corpus around
    it. One that cannot be looked into is told of when it is read."""
    return all(os.path.isfile(folder / name) for name in ("recipe.yaml", ".lock"))


def _join_names(files: list[Path]) -> str:
    names = ", ".join(file.name for file in files[:3])
    return names + (f" and {len(files) - 3} more" if len(files) > 3 else "")
