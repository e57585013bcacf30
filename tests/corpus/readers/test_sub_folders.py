"""Folders and files of a corpus that cannot be looked into, and links."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns, Document, SkippedRow
from distill.errors import UserError
from distill.start.survey import survey_corpus


def refuse(path: Path) -> Callable[..., Any]:
    def refuse_any(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    return refuse_any


def close_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the system refuse to list a folder, as it does with those of others."""
    list_any = os.scandir

    def scan(path: Any = ".") -> Any:
        return refuse(folder)() if Path(path) == folder else list_any(path)

    monkeypatch.setattr(os, "scandir", scan)


def close_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    open_any = Path.open

    def open_one(path: Path, *values: Any, **named: Any) -> Any:
        return refuse(file)() if path == file else open_any(path, *values, **named)

    monkeypatch.setattr(Path, "open", open_one)


def write_pages(folder: Path) -> Path:
    (folder / "part").mkdir(parents=True)
    (folder / "bees.md").write_text("# Bees\n\nThey dance to tell the others.")
    (folder / "part" / "ice.md").write_text("# Ice\n\nSlow rivers of it carve the valleys.")
    return folder


@pytest.mark.bad_input("corpus", "a sub-folder that may not be read", "refused, named")
@pytest.mark.parametrize("skips", [False, True])
def test_sub_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch, skips):
    """Its files were left out without a word."""
    close_folder(monkeypatch, write_pages(tmp_path) / "part")
    with pytest.raises(UserError, match="ermission") as fault:
        open_auto(tmp_path, Columns(), skips)
    assert fault.value.where == str(tmp_path / "part")


@pytest.mark.bad_input("text file", "no permission to read it", "refused; or left out")
def test_file_that_may_not_be_read_is_named_or_left_out(tmp_path, monkeypatch):
    file = write_pages(tmp_path) / "bees.md"
    before = open_auto(tmp_path, Columns(), skips=True).identity
    close_file(monkeypatch, file)
    with pytest.raises(UserError, match="ermission") as fault:
        open_auto(tmp_path, Columns())
    assert fault.value.where == str(file)
    source = open_auto(tmp_path, Columns(), skips=True)
    assert [(row.id, type(row)) for row in source.read()] == [
        ("bees.md", SkippedRow),
        ("part/ice.md", Document),
    ]
    assert source.identity != before
    survey = survey_corpus(tmp_path, 256)
    assert (survey.documents, survey.may_be_unreadable) == (1, True)


@pytest.mark.bad_input("corpus", "links to folders and to nothing", "not followed, named")
def test_links_that_are_not_followed_are_named(tmp_path, caplog):
    """Their texts were left out without a word."""
    folder = write_pages(tmp_path / "corpus")
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "lost.md").symlink_to(tmp_path / "nothing.md")
    (folder / "read.md").symlink_to(folder / "bees.md")
    rows = open_auto(folder, Columns()).read()
    assert [row.id for row in rows] == ["bees.md", "part/ice.md", "read.md"]
    (line,) = [line for line in caplog.text.splitlines() if "links not followed" in line]
    assert line.endswith("linked, lost.md")
