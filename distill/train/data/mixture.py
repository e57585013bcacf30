"""The training data: examples, and plain texts to align, as datasets of numbers. A `label` column
numbers the example and its texts: the numbers say which texts are the same, and where the
teacher's vectors and the soft scores lie; the other columns number the texts as they are written
for the student, prompts included."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from datasets import Dataset
from torch import Tensor

from distill.recipe import Student, Train
from distill.store.tables import Row, passage_text
from distill.student.writing import StudentTexts
from distill.text.format import PromptedText
from distill.text.normalize import normalize_text
from distill.train.data.soft_labels import ScoredExample, SoftScores
from distill.train.data.texts_to_align import draw_texts

NO_EXAMPLE = -1
"""The example's number in the label of a plain text."""


@dataclass(frozen=True)
class Mixture:
    """`datasets`: "examples-N" (columns query, positive, negative_1 to negative_N, label), a
    dataset a number of negatives (and a type of task, where batches are homogeneous), and "texts"
    (text, label). Where soft labels are learnt of all candidates, "examples-N+M" have M columns
    other_1 to other_M too.

    A label is the example's number, then the numbers of its texts, counted through `queries`, the
    passages of the corpus (where a teacher's vectors are learnt, else none) and `others`, the
    documents that are not among those; `tasks` are the queries', by the same ids. Texts of one side
    that read the same have one number; so do queries, under one task where the teacher is told it.
    The other columns are numbers in `student_texts`.
    """

    datasets: dict[str, Dataset]
    rows: Sequence[ScoredExample]
    queries: dict[str, str]
    tasks: dict[str, str]
    others: dict[str, str]
    student_texts: list[PromptedText]

    @property
    def examples(self) -> int:
        """The number of examples."""
        return len(self.rows)

    @property
    def texts(self) -> int:
        """The number of texts for alignment."""
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
    passages: Iterable[Row],
    teacher_reads_tasks: bool = False,
) -> Mixture:
    """The datasets of one training stage.

    Args:
        passages: the corpus, gone through as often as a setting needs it, and never held in memory.
        teacher_reads_tasks: whether the teacher's vector of a query depends on its task.
    """
    aligned = train.objective.needs_teacher_vectors
    texts = draw_texts(train.align, seed, passages) if aligned else []
    examples = _list_columns(rows, passages)
    queries: dict[str, Row] = {}
    for example in examples:
        queries.setdefault(_query_key(example.row, teacher_reads_tasks), example.row)
    written = [*(text for one in examples for text in one.documents), *texts]
    documents = _distinct(written)
    corpus = _number_passages(passages, documents) if aligned else _CorpusNumbers({}, 0)
    others = [text for key, text in documents.items() if key not in corpus.numbers]
    numbers = _TeacherTextNumbers(queries, corpus, others, teacher_reads_tasks)
    student_numbers = _StudentTextNumbers(StudentTexts(student, passages, set(written)))
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
        {f"text-{i}": text for i, text in enumerate(others)},
        list(student_numbers.numbers),
    )


class _Columns(NamedTuple):
    """An example and the texts of its columns behind the query."""

    row: Row
    documents: list[str]


def _list_columns(rows: Sequence[ScoredExample], passages: Iterable[Row]) -> list[_Columns]:
    """List each example's positive, its negatives, and its further candidates, which are passages
    of the corpus."""
    ids = {id_ for scored in rows for id_ in scored.others}
    found = (row for row in passages if row["passage_id"] in ids) if ids else ()
    texts = {row["passage_id"]: passage_text(row) for row in found}
    return [
        _Columns(
            scored.row,
            [
                scored.row["positive"],
                *scored.row["negatives"],
                *(texts[id_] for id_ in scored.others),
            ],
        )
        for scored in rows
    ]


def _distinct(texts: Iterable[str]) -> dict[str, str]:
    """The first of the texts that read the same, by what they have in common."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(normalize_text(text), text)
    return found


def _query_key(row: Row, teacher_reads_tasks: bool) -> str:
    """What two queries have in common that have one number."""
    return (f"{row['task']}\n" if teacher_reads_tasks else "") + normalize_text(row["query"])


class _CorpusNumbers(NamedTuple):
    """The row numbers of passages by their normalized texts, and the number of all passages."""

    numbers: dict[str, int]
    size: int


def _number_passages(passages: Iterable[Row], documents: Container[str]) -> _CorpusNumbers:
    """Find the first passage that reads as each of the documents (normalized texts)."""
    numbers: dict[str, int] = {}
    size = 0
    for row in passages:
        key = normalize_text(passage_text(row))
        if key in documents:
            numbers.setdefault(key, size)
        size += 1
    return _CorpusNumbers(numbers, size)


class _TeacherTextNumbers:
    """Numbers of the texts as rows of the teacher's vectors: queries, the corpus in table order,
    other documents."""

    def __init__(
        self,
        queries: Iterable[str],
        corpus: _CorpusNumbers,
        others: Sequence[str],
        teacher_reads_tasks: bool,
    ) -> None:
        self.teacher_reads_tasks = teacher_reads_tasks
        self.queries = {key: number for number, key in enumerate(queries)}
        before = len(self.queries)
        self.documents = {key: before + number for key, number in corpus.numbers.items()}
        for number, text in enumerate(others, start=before + corpus.size):
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
