"""Results of files that came before those ahead of them in the corpus: they wait on disk, for one
large file may take a worker longer than all others together."""

import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from distill.corpus.cut import CutDocument, CutPiece
from distill.corpus.readers.text_files import FileDocuments
from distill.files.atomic import name_full_disk
from distill.workers.protocol import BatchResult

_IN_MEMORY = 64 << 20
"""Bytes; beyond it they are in a file without a name, which goes with the process."""


class EarlyResults:
    """Results by the number of their batch.

    Args:
        folder: where the file is; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder))  # noqa: SIM115
        self._places: dict[int, tuple[int, int, float]] = {}

    def __enter__(self) -> "EarlyResults":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __setitem__(self, number: int, result: BatchResult[FileDocuments[CutDocument]]) -> None:
        data = json.dumps(result.values, default=bytes.hex).encode()
        with name_full_disk(self._folder):
            start = self._file.seek(0, 2)
            self._file.write(data)
        self._places[number] = start, len(data), result.seconds

    def pop(self, number: int) -> BatchResult[FileDocuments[CutDocument]]:
        """Take a result out; when none is left, the file is empty again."""
        start, size, seconds = self._places.pop(number)
        self._file.seek(start)
        files = [_rebuild(*file) for file in json.loads(self._file.read(size))]
        if not self._places:
            self._file.seek(0)
            self._file.truncate()
        return BatchResult(number, files, seconds)


def _rebuild(
    path: str, name: str, documents: list[list[Any]], fault: list[str] | None
) -> FileDocuments[CutDocument]:
    cut = [
        CutDocument(id_, title, source, is_repaired, [*map(_rebuild_piece, pieces)])
        for id_, title, source, is_repaired, pieces in documents
    ]
    return FileDocuments(path, name, cut, None if fault is None else (fault[0], fault[1], fault[2]))


def _rebuild_piece(piece: list[Any]) -> CutPiece:
    id_, text, digest, is_held_out = piece
    return CutPiece(id_, text, bytes.fromhex(digest), is_held_out)
