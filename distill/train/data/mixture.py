"""The training data: examples, and plain texts to align, as datasets of numbers. A `label` column
numbers the example and its texts: the numbers say which texts are the same, and where the
teacher's vectors and the soft scores lie; the other columns number the texts as they are written
for the student, prompts included."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from datasets import Dataset
from torch import Tensor

from distill.recipe import Align, Student, Train
from distill.store.tables import Row, passage_text
from distill.student.writing import StudentTexts
from distill.text.format import PromptedText
from distill.text.normalize import normalize_text
from distill.text.sentences import split_sentences
from distill.text.words import count_words
from distill.train.data.soft_labels import ScoredExample, SoftScores

MIN_WORDS = 4
"""Shorter sentences are headings and debris of the splitting."""
NO_EXAMPLE = -1
"""The example's number in the label of a plain text."""


@dataclass(frozen=True)
class Mixture:
    """`datasets`: "examples-N" (columns query, positive, negative_1 to negative_N, label), a
    dataset a number of negatives (and a type of task, where batches are homogeneous), and "texts"
    (text, label). Where soft labels are learnt of all candidates, "examples-N+M" have M columns
    other_1 to other_M too.

    A label is the example's number, then the numbers of its texts, counted through `queries`,
    `passages` and `others`, the texts by id as a teacher reads them; `tasks` are the queries', by
    the same ids. Texts of one side that read the same have one number; so do queries, under one
    task where the teacher is told it. The other columns are numbers in `student_texts`.
    """

    datasets: dict[str, Dataset]
    rows: Sequence[ScoredExample]
    queries: dict[str, str]
    tasks: dict[str, str]
    passages: dict[str, str]
    others: dict[str, str]
    student_texts: list[PromptedText]

    @property
    def examples(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> int:
        return len(self.datasets["texts"]) if "texts" in self.datasets else 0

    @property
    def scores(self) -> SoftScores:
        """Soft scores by an example's number."""
        return SoftScores([scored.scores for scored in self.rows])

    @property
    def contrasted(self) -> "ContrastColumns | None":
        """None where every column is."""
        if not any(scored.others for scored in self.rows):
            return None
        return ContrastColumns([2 + len(scored.row["negatives"]) for scored in self.rows])

    def in_batch(self, off: Sequence[str]) -> "InBatch | None":
        """None where no task type is excluded; `all` excludes every one."""
        if not off:
            return None
        types = [scored.row["task_type"] for scored in self.rows]
        return InBatch([off != "all" and task_type not in off for task_type in types])


class InBatch:
    """Whether other rows of the batch may be this example's negatives."""

    def __init__(self, allowed: list[bool]) -> None:
        self.allowed = torch.tensor(allowed)

    def take(self, numbers: Tensor) -> Tensor:
        """(n,) example numbers to (n,) bool."""
        return self.allowed[numbers.cpu()]


class ContrastColumns:
    """How many of an example's columns the contrast has: query, positive and negatives."""

    def __init__(self, columns: list[int]) -> None:
        self.columns = torch.tensor(columns)

    def take(self, numbers: Tensor) -> Tensor:
        """(n,) example numbers to (n,) columns."""
        return self.columns[numbers.cpu()]


def make_mixture(
    student: Student,
    train: Train,
    seed: int,
    rows: Sequence[ScoredExample],
    passages: Sequence[Row],
    teacher_reads_tasks: bool = False,
) -> Mixture:
    """The datasets of one training stage.

    Args:
        teacher_reads_tasks: whether the teacher's vector of a query depends on its task.
    """
    corpus = {row["passage_id"]: passage_text(row) for row in passages}
    aligned = train.objective.needs_teacher_vectors
    texts = draw_texts(train.align, seed, passages) if aligned else []
    examples = [_Columns(scored.row, _documents_of(scored, corpus)) for scored in rows]
    queries: dict[str, Row] = {}
    for example in examples:
        queries.setdefault(_query_key(example.row, teacher_reads_tasks), example.row)
    documents = _distinct(
        [*corpus.values(), *(text for one in examples for text in one.documents), *texts]
    )
    known = {normalize_text(text) for text in corpus.values()}
    others = [text for key, text in documents.items() if key not in known]
    numbers = _TeacherTextNumbers(queries, corpus, others, teacher_reads_tasks)
    student_numbers = _StudentTextNumbers(StudentTexts(student, passages))
    datasets = _example_datasets(train, examples, numbers, student_numbers)
    if texts:
        datasets["texts"] = Dataset.from_dict(
            {
                "text": [student_numbers.document(text) for text in texts],
                "label": [[NO_EXAMPLE, numbers.document(text)] for text in texts],
            }
        )
    return Mixture(
        datasets,
        rows,
        {f"query-{i}": row["query"] for i, row in enumerate(queries.values())},
        {f"query-{i}": row["task"] for i, row in enumerate(queries.values())},
        corpus,
        {f"text-{i}": text for i, text in enumerate(others)},
        list(student_numbers.numbers),
    )


class _Columns(NamedTuple):
    """An example and the texts of its columns behind the query."""

    row: Row
    documents: list[str]


def _documents_of(scored: ScoredExample, corpus: Mapping[str, str]) -> list[str]:
    """The positive, the negatives, and further candidates, which are passages of the corpus."""
    row = scored.row
    return [row["positive"], *row["negatives"], *(corpus[id_] for id_ in scored.others)]


def draw_texts(align: Align, seed: int, passages: Sequence[Row]) -> list[str]:
    """Draw passages, and sentences of passages, by seed; each text once."""
    whole = list(dict.fromkeys(passage_text(row) for row in passages))
    taken = set(whole)
    found = dict.fromkeys(s for row in passages for s in split_sentences(row["text"]))
    parts = [s for s in found if count_words(s) >= MIN_WORDS and s not in taken]
    return [
        *_draw(whole, align.passages, f"{seed}|passages to align"),
        *_draw(parts, align.sentences, f"{seed}|sentences to align"),
    ]


def _draw(texts: list[str], count: int, seed: str) -> list[str]:
    return random.Random(seed).sample(texts, min(count, len(texts)))


def _distinct(texts: Iterable[str]) -> dict[str, str]:
    """The first of the texts that read the same, by what they have in common."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(normalize_text(text), text)
    return found


def _query_key(row: Row, teacher_reads_tasks: bool) -> str:
    """What two queries have in common that have one number."""
    return (f"{row['task']}\n" if teacher_reads_tasks else "") + normalize_text(row["query"])


class _TeacherTextNumbers:
    """Numbers of the texts as rows of the teacher's vectors: queries, the corpus in table order,
    other documents."""

    def __init__(
        self,
        queries: Iterable[str],
        corpus: dict[str, str],
        others: Sequence[str],
        teacher_reads_tasks: bool,
    ) -> None:
        self.teacher_reads_tasks = teacher_reads_tasks
        self.queries = {key: number for number, key in enumerate(queries)}
        self.documents: dict[str, int] = {}
        for number, text in enumerate([*corpus.values(), *others], start=len(self.queries)):
            self.documents.setdefault(normalize_text(text), number)

    def query(self, row: Row) -> int:
        return self.queries[_query_key(row, self.teacher_reads_tasks)]

    def document(self, text: str) -> int:
        return self.documents[normalize_text(text)]


class _StudentTextNumbers:
    """Numbers of the distinct texts as they are written for the student."""

    def __init__(self, writer: StudentTexts) -> None:
        self.writer = writer
        self.numbers: dict[PromptedText, int] = {}

    def query(self, row: Row) -> int:
        return self._number(self.writer.query(row))

    def document(self, text: str, row: Row | None = None) -> int:
        return self._number(self.writer.document(text, row))

    def _number(self, text: PromptedText) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def _example_datasets(
    train: Train,
    examples: Sequence[_Columns],
    numbers: _TeacherTextNumbers,
    student_numbers: _StudentTextNumbers,
) -> dict[str, Dataset]:
    """Examples by their numbers of negatives and of other candidates, since a batch has as many of
    each column."""
    groups: dict[tuple[int, int, str], list[int]] = defaultdict(list)
    for number, (row, documents) in enumerate(examples):
        task_type = row["task_type"] if train.batches == "homogeneous" else ""
        count = len(row["negatives"])
        groups[count, len(documents) - 1 - count, task_type].append(number)
    return {
        _name(count, more, task_type): _dataset(
            count,
            more,
            [(number, examples[number]) for number in members],
            numbers,
            student_numbers,
        )
        for (count, more, task_type), members in sorted(groups.items())
    }


def _name(count: int, more: int, task_type: str) -> str:
    others, of_type = f"+{more}" if more else "", f"-{task_type}" if task_type else ""
    return f"examples-{count}{others}{of_type}"


def _dataset(
    count: int,
    more: int,
    members: Sequence[tuple[int, _Columns]],
    numbers: _TeacherTextNumbers,
    student_numbers: _StudentTextNumbers,
) -> Dataset:
    negatives = [f"negative_{n}" for n in range(1, count + 1)]
    names = ["query", "positive", *negatives, *(f"other_{n}" for n in range(1, more + 1))]
    texts = [
        [student_numbers.query(row), *(student_numbers.document(text, row) for text in documents)]
        for _, (row, documents) in members
    ]
    labels = [
        [number, numbers.query(row), *map(numbers.document, documents)]
        for number, (row, documents) in members
    ]
    columns = dict(zip(names, map(list, zip(*texts, strict=True)), strict=True))
    return Dataset.from_dict({**columns, "label": labels})
