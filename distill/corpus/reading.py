"""Read a corpus and cut its documents: text files by the run's workers, all else in this process.

The process that writes reads the bytes of files and sends them in groups, so the corpus need not
lie where workers are. Reading rows of tables takes little beside looking their ids up, in order.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distill.corpus.cut import CutDocument, DocumentCutter
from distill.corpus.early_results import EarlyResults
from distill.corpus.readers.rows import CorpusSource, Document, SkippedRow
from distill.corpus.readers.text_files import (
    FileDocuments,
    TextFile,
    TextSource,
    get_ending,
    join_files,
    load_file,
    read_file,
)
from distill.corpus.sections.formats import is_binary
from distill.corpus.sections.installed import check_same_readers, read_reader_versions
from distill.errors import UserError
from distill.models.reference import identify_revision
from distill.recipe import Corpus
from distill.workers.batch_queue import sort_results
from distill.workers.protocol import LazyBatches, OpenWork, Team, WorkerJob, WorkerNeeds, Workers

CutFile = FileDocuments[CutDocument]
_GROUP_BYTES = 1 << 20
"""Of the files that a worker is sent at once: about a second of work."""
_GROUP_FILES = 64


@dataclass(frozen=True)
class CorpusReading:
    """The documents of a corpus, in its order, as they are read and cut.

    Args:
        tell: says what a person should know of the workers.
        describe: describes who read it; see `Team.describe`.
    """

    documents: Iterator[CutDocument | SkippedRow]
    tell: Callable[[], str] = str
    describe: Callable[[], dict[str, Any]] = dict


@contextmanager
def open_reading(
    source: CorpusSource, corpus: Corpus, seed: int, folder: Path, workers: Workers
) -> Iterator[CorpusReading]:
    """Begin to read a corpus.

    Args:
        folder: where a file on disk may be; nothing is left in it.

    Raises:
        UserError: if it cannot be cut, or a worker would read files otherwise than this process;
            while documents are taken, as the source raises it.
    """
    if not isinstance(source, TextSource):
        cutter = DocumentCutter(corpus, seed, source.titles_are_prose)
        yield CorpusReading(_cut_rows(source, cutter))
        return
    with (
        workers.begin(_make_job(source, corpus, seed)) as team,
        EarlyResults(folder) as early,
    ):
        documents = join_files(_iterate_files(team, early), source.skips)
        yield CorpusReading(documents, lambda: team.note, team.describe)


def _cut_rows(source: CorpusSource, cutter: DocumentCutter) -> Iterator[CutDocument | SkippedRow]:
    for document in source.read():
        yield cutter.cut(document) if isinstance(document, Document) else document


def _iterate_files(team: Team[CutFile], early: EarlyResults) -> Iterator[CutFile]:
    for result in sort_results(team.iterate_results(lambda: False), early):
        yield from result.values


def _make_job(source: TextSource, corpus: Corpus, seed: int) -> WorkerJob[TextFile, CutFile]:
    groups = group_files(source.files)
    versions = read_reader_versions({get_ending(file) for file in source.files})
    revision = identify_revision(corpus.tokenizer) if corpus.tokenizer is not None else None
    return WorkerJob(
        "passages",
        partial(open_text_reader, corpus, seed, source.titles_are_prose, versions, revision),
        LazyBatches(len(groups), lambda n: [load_file(file, source.folder) for file in groups[n]]),
        WorkerNeeds(),
        name_batch=lambda number: _name_group(groups[number]),
        remedy="fix what it says, or take the file out of the corpus",
    )


def group_files(files: Sequence[Path]) -> list[list[Path]]:
    """Group files that are sent to a worker together, in their order. A document in a binary form
    is alone, as a large file is: if one ends its worker, it is known which one."""
    groups: list[list[Path]] = []
    room = 0
    for file in files:
        size = _GROUP_BYTES + 1 if is_binary(get_ending(file)) else _measure(file)
        if not groups or size > room or len(groups[-1]) == _GROUP_FILES:
            groups.append([])
            room = _GROUP_BYTES
        groups[-1].append(file)
        room -= size
    return groups


def _measure(file: Path) -> int:
    """Measure a file; one that cannot be looked at is told of when it is read."""
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _name_group(files: Sequence[Path]) -> str:
    if len(files) == 1:
        return str(files[0])
    return f"{len(files)} files, {files[0]} to {files[-1]}"


@contextmanager
def open_text_reader(
    corpus: Corpus,
    seed: int,
    titles_are_prose: bool,
    versions: Mapping[str, str],
    tokenizer: str | None,
) -> Iterator[OpenWork[TextFile, CutFile]]:
    """Open the reading of text files.

    Args:
        versions: of the programs that read them, where the run is written.
        tokenizer: the revision that `corpus.tokenizer` has there.

    Raises:
        UserError: if they are others here.
    """
    check_same_readers(versions)
    check_same_tokenizer(corpus, tokenizer)
    cutter = DocumentCutter(corpus, seed, titles_are_prose)

    def cut_files(files: Sequence[TextFile]) -> Iterator[CutFile]:
        for path, name, documents, fault in map(read_file, files):
            yield FileDocuments(path, name, [cutter.cut(one) for one in documents], fault)

    yield OpenWork(cut_files)


def check_same_tokenizer(corpus: Corpus, revision: str | None) -> None:
    """Check that the tokenizer that measures passages is the same on this machine.

    Args:
        revision: of `corpus.tokenizer`, where the run is written.

    Raises:
        UserError: naming this machine, if it is another one or is not found.
    """
    if corpus.tokenizer is None:
        return
    where = f"node {socket.gethostname()}"
    remedy = "put the same model at the same path on every node, or name a commit of the hub"
    try:
        here = identify_revision(corpus.tokenizer)
    except UserError as fault:
        raise UserError(
            where, f"has no corpus.tokenizer: {fault.where} {fault.what}", remedy
        ) from None
    if here != revision:
        raise UserError(
            where,
            f"has another corpus.tokenizer {corpus.tokenizer!r} ({here}, not {revision})",
            remedy,
        )
