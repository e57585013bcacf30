"""The training data: examples, and plain texts to align, as datasets of numbers. A `label` column
numbers the example and its texts: the numbers say which texts are the same, and where the
teacher's vectors and the soft scores lie; the other columns number the texts as they are written
for the student, prompts included. The texts themselves stay on disk."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from distill.recipe import Student, Train
from distill.store.tables import Row, join_passage
from distill.student.writing import StudentTexts
from distill.text.digests import (
    KnownTexts,
    NumberedDigests,
    TextDigests,
    digest_text,
    digest_texts,
    number_digests,
)
from distill.text.format import PromptedText
from distill.text.normalize import normalize_text
from distill.train.data.soft_labels import SoftScores
from distill.train.data.texts_to_align import TextsToAlign, draw_texts
from distill.train.rows.examples import ScoredExample
from distill.train.rows.texts import (
    NO_EXAMPLE,
    QUERY,
    CorpusRows,
    ExampleTexts,
    PlacedText,
    TextPlaces,
    TextsById,
    TextsOnDemand,
    digest_prompted,
    write_for_student,
)

Numbers = NDArray[np.int64]
_AT_ONCE = 16
"""Passages that are compared together: with more, a small corpus would be in memory as a whole."""


@dataclass(frozen=True)
class Mixture:
    """The training data as datasets, named by their columns: "examples-N" (query, positive,
    negative_1 to negative_N, label), one for each number of negatives (and type of task, where
    batches are homogeneous), and "texts" (text, label). Where soft labels are learnt of all
    candidates, "examples-N+M" have M columns other_1 to other_M too.

    A label is the example's number, then the numbers of its texts, counted through `queries`, the
    passages of the corpus (where a teacher's vectors are learnt, else none) and `others`, the
    documents that are not among those; `tasks` are the queries', by the same ids. Texts of one side
    that read the same have one number; so do queries, under one task where the teacher is told it.
    The other columns are numbers in `student_texts`.
    """

    datasets: dict[str, Dataset]
    columns: "ExampleColumns"
    queries: Mapping[str, str]
    tasks: Mapping[str, str]
    others: Mapping[str, str]
    student_texts: TextsOnDemand[PromptedText]

    @property
    def examples(self) -> int:
        """The number of examples."""
        return len(self.columns.sources)

    @property
    def texts(self) -> int:
        """The number of texts for alignment."""
        return len(self.datasets["texts"]) if "texts" in self.datasets else 0

    @property
    def sources(self) -> Sequence[str]:
        """The source of each example."""
        return self.columns.sources

    @property
    def scores(self) -> SoftScores:
        """Soft scores by an example's number."""
        return self.columns.scores

    @property
    def contrasted(self) -> "ContrastColumns | None":
        """None where every column is."""
        if not self.columns.candidates.any():
            return None
        return ContrastColumns((2 + self.columns.negatives).tolist())

    def mark_in_batch(self, off: Sequence[str]) -> "InBatch | None":
        """Mark the rows that may be negatives; None where no task type is excluded; `all` excludes
        every one."""
        if not off:
            return None
        types = self.columns.task_types
        return InBatch([off != "all" and task_type not in off for task_type in types])


class ExampleColumns(NamedTuple):
    """The properties of all examples that are held in memory, by number: where they come from,
    their types of task, how many negatives and how many further candidates they have, and their
    soft scores."""

    sources: list[str]
    task_types: list[str]
    negatives: Numbers
    candidates: Numbers
    scores: SoftScores


def list_columns(examples: Sequence[ScoredExample]) -> ExampleColumns:
    """Go through the examples once for what is held of them."""
    sources, task_types, counts, names = [], [], [], dict[str, str]()
    scores = SoftScores(())
    for row, of_documents, others, source in examples:
        sources.append(source)
        task_types.append(names.setdefault(row["task_type"], row["task_type"]))
        counts.append((len(row["negatives"]), len(others)))
        scores.append(of_documents)
    negatives, candidates = np.array(counts, np.int64).reshape(-1, 2).T
    return ExampleColumns(sources, task_types, negatives, candidates, scores)


class InBatch:
    """A mark for each example: whether other rows of the batch may be its negatives."""

    def __init__(self, allowed: list[bool]) -> None:
        self.allowed = torch.tensor(allowed)

    def take(self, numbers: Tensor) -> Tensor:
        """Take the marks, (n,) bool, of (n,) example numbers."""
        return self.allowed[numbers.cpu()]


class ContrastColumns:
    """The number of columns of each example that the contrast has: query, positive and
    negatives."""

    def __init__(self, columns: list[int]) -> None:
        self.columns = torch.tensor(columns)

    def take(self, numbers: Tensor) -> Tensor:
        """Take the columns, (n,), of (n,) example numbers."""
        return self.columns[numbers.cpu()]


def make_mixture(
    student: Student,
    train: Train,
    seed: int,
    rows: Sequence[ScoredExample],
    passages: CorpusRows | None,
    teacher_reads_tasks: bool = False,
) -> Mixture:
    """Make the datasets of one training stage. Of texts hashes are held in memory.

    Args:
        rows: gone through several times, in order.
        passages: the corpus, gone through as often as a setting needs it.
        teacher_reads_tasks: whether the teacher's vector of a query depends on its task.
    """
    aligned = train.objective.needs_teacher_vectors
    drawn = draw_texts(train.align, seed, passages or ()) if aligned else TextsToAlign([], [])
    texts = drawn.place(student.default_task)
    columns = list_columns(rows)
    examples = ExampleTexts(rows, passages, texts)
    widths = 1 + columns.negatives + columns.candidates
    documents_at, texts_at = np.cumsum([0, *widths]), np.cumsum([0, *(1 + widths)])
    whole = KnownTexts()
    queries, documents = _digest_as_read(
        examples, texts, teacher_reads_tasks, whole if student.text_format.has_title else None
    )
    corpus = _find_in_corpus(documents, passages if aligned else None)
    numbers = _number_for_teacher(queries, documents, corpus)
    writer = StudentTexts(student, passages or (), whole)
    groups = _group(train, columns)
    written = _number_as_grouped(_digest_as_written(examples, texts, writer), groups, texts_at)
    datasets = {
        _name_dataset(*group): _make_dataset(
            group, members, numbers, written, documents_at, texts_at
        )
        for group, members in groups.items()
    }
    if texts:
        of_queries = numbers.queries[len(rows) :]
        label = np.concatenate([numbers.documents[documents_at[-1] :], of_queries])
        labels = np.column_stack([np.full(len(texts), NO_EXAMPLE), label])
        datasets["texts"] = Dataset.from_dict(
            {"text": written.numbers[texts_at[-1] :], "label": labels}
        )

    query_places = _locate_queries(queries.firsts, len(rows), len(drawn.documents))
    others = _locate(documents_at, documents.firsts[corpus.rows < 0])
    return Mixture(
        datasets,
        columns,
        TextsById("query", TextsOnDemand(examples, query_places, PlacedText.read_query)),
        TextsById("query", TextsOnDemand(examples, query_places, PlacedText.read_task)),
        TextsById("text", TextsOnDemand(examples, others, PlacedText.read_document)),
        TextsOnDemand(
            examples,
            _locate(texts_at, written.firsts, QUERY),
            partial(write_for_student, writer),
        ),
    )


def _digest_as_read(
    examples: ExampleTexts, texts: Sequence[PlacedText], reads_tasks: bool, whole: KnownTexts | None
) -> tuple[NumberedDigests, NumberedDigests]:
    """Number the queries, and the documents, each with the plain texts of its side behind it, so
    that those that read the same have one number.

    Args:
        whole: the documents as they are go in here.
    """
    queries, documents = bytearray(), bytearray()

    def add(text: str) -> None:
        documents.extend(digest_text(normalize_text(text)))
        if whole is not None:
            whole.add(text)

    for row, of_example in examples:
        queries += digest_text(_make_query_key(row, reads_tasks))
        for text in of_example:
            add(text)
    for placed in texts:
        if placed.text is not None:
            add(placed.text)
        elif placed.row is not None:
            queries += digest_text(_make_query_key(placed.row, reads_tasks))
    return number_digests(queries), number_digests(documents)


def _make_query_key(row: Row, teacher_reads_tasks: bool) -> str:
    """Return what two queries have in common that have one number."""
    return (f"{row['task']}\n" if teacher_reads_tasks else "") + normalize_text(row["query"])


def _digest_as_written(
    examples: ExampleTexts, texts: Sequence[PlacedText], writer: StudentTexts
) -> TextDigests:
    """Hash what the student reads: each example's query and documents, then the plain texts."""
    digests = bytearray()
    for row, documents in examples:
        digests += digest_prompted(writer.write_query(row))
        for text in documents:
            digests += digest_prompted(writer.write_document(text, row))
    for placed in texts:
        digests += digest_prompted(write_for_student(writer, placed))
    return np.frombuffer(digests, np.uint64)


class _CorpusNumbers(NamedTuple):
    """The row of the first passage that reads as each numbered document, -1 for none; and the
    number of all passages."""

    rows: Numbers
    size: int


def _find_in_corpus(documents: NumberedDigests, passages: Iterable[Row] | None) -> _CorpusNumbers:
    rows = np.full(len(documents.digests), -1, np.int64)
    order = np.argsort(documents.digests)
    ordered = documents.digests[order]
    size, left = 0, iter(passages or ())
    while some := [normalize_text(join_passage(row)) for row in islice(left, _AT_ONCE)]:
        digests = digest_texts(some)
        places = np.minimum(np.searchsorted(ordered, digests), len(ordered) - 1)
        known = np.flatnonzero(ordered[places] == digests)[::-1]  # of equal ones the first counts
        numbers = order[places[known]]
        rows[numbers] = np.where(rows[numbers] < 0, size + known, rows[numbers])
        size += len(some)
    return _CorpusNumbers(rows, size)


class _TeacherNumbers(NamedTuple):
    """Numbers of the texts as rows of the teacher's vectors: queries, the corpus in table order,
    other documents."""

    queries: Numbers
    documents: Numbers


def _number_for_teacher(
    queries: NumberedDigests, documents: NumberedDigests, corpus: _CorpusNumbers
) -> _TeacherNumbers:
    is_other = corpus.rows < 0
    rows = np.where(is_other, corpus.size + np.cumsum(is_other) - 1, corpus.rows)
    return _TeacherNumbers(queries.numbers, (len(queries.digests) + rows)[documents.numbers])


def _locate(starts: Numbers, texts: Numbers, first_column: int = 0) -> TextPlaces:
    """Find in which example and column texts stand that are counted through all examples.

    Args:
        starts: the first text of each example, and of those that stand in none.
    """
    examples = np.searchsorted(starts, texts, side="right") - 1
    alone = examples == len(starts) - 1
    columns = texts - starts[examples] + np.where(alone, 0, first_column)
    return TextPlaces(np.where(alone, NO_EXAMPLE, examples), columns)


def _locate_queries(queries: Numbers, examples: int, before: int) -> TextPlaces:
    """Find in which example queries stand that are counted through all examples, and then through
    the plain texts.

    Args:
        before: number of plain texts that are documents, and come first.
    """
    alone = queries >= examples
    columns = np.where(alone, queries - examples + before, QUERY)
    return TextPlaces(np.where(alone, NO_EXAMPLE, queries), columns)


_Group = tuple[int, int, str]
"""How many negatives and how many further candidates, since a batch has as many of each column; and
the type of task, where batches are homogeneous."""


def _group(train: Train, columns: ExampleColumns) -> dict[_Group, Numbers]:
    groups: dict[_Group, list[int]] = defaultdict(list)
    each = zip(columns.negatives.tolist(), columns.candidates.tolist(), strict=True)
    for number, (count, more) in enumerate(each):
        task_type = columns.task_types[number] if train.batches == "homogeneous" else ""
        groups[count, more, task_type].append(number)
    return {group: np.array(members) for group, members in sorted(groups.items())}


def _name_dataset(count: int, more: int, task_type: str) -> str:
    others, of_type = f"+{more}" if more else "", f"-{task_type}" if task_type else ""
    return f"examples-{count}{others}{of_type}"


def _number_as_grouped(
    digests: TextDigests, groups: Mapping[_Group, Numbers], texts_at: Numbers
) -> NumberedDigests:
    """Number the texts in the order in which the datasets have them."""
    order = [
        (texts_at[members][:, None] + np.arange(2 + count + more)).ravel()
        for (count, more, _), members in groups.items()
    ]
    whole = np.concatenate([*order, np.arange(texts_at[-1], len(digests))])
    grouped = number_digests(digests[whole])
    numbers = np.empty(len(digests), np.int64)
    numbers[whole] = grouped.numbers
    return NumberedDigests(numbers, whole[grouped.firsts], grouped.digests)


def _make_dataset(
    group: _Group,
    members: Numbers,
    numbers: _TeacherNumbers,
    written: NumberedDigests,
    documents_at: Numbers,
    texts_at: Numbers,
) -> Dataset:
    count, more, _ = group
    negatives = [f"negative_{n}" for n in range(1, count + 1)]
    names = ["query", "positive", *negatives, *(f"other_{n}" for n in range(1, more + 1))]
    texts = written.numbers[texts_at[members][:, None] + np.arange(len(names))]
    documents = numbers.documents[documents_at[members][:, None] + np.arange(len(names) - 1)]
    labels = np.column_stack([members, numbers.queries[members], documents])
    return Dataset.from_dict({**dict(zip(names, texts.T, strict=True)), "label": labels})
