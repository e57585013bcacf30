"""Measure what the recipe's student takes to train and to embed, on a sample of the corpus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from distill.errors import UserError
from distill.estimate.amounts import Amount, make_exact_amount
from distill.recipe import Student, Train
from distill.store.stage import Stage

if TYPE_CHECKING:
    from distill.train.timed_steps import SampledStudent, StepSpeed


class TextSeconds(NamedTuple):
    """Seconds that a student takes to embed a document and a query."""

    document: Amount
    query: Amount


@dataclass
class StudentSpeed:
    """A meter of the students of a recipe, each opened once. `passages` are those that a vocabulary
    is cut down to, `dimensions` returns the width of a static student, None if unknown.

    `faults` says what could not be measured, and why. Nothing is measured without `texts`.
    """

    texts: Sequence[str]
    passages: Stage | None
    seed: int
    dimensions: Callable[[], int | None]
    faults: list[str] = field(default_factory=list)
    _students: dict[str, "SampledStudent | None"] = field(default_factory=dict)
    _embedded: dict[str, TextSeconds] = field(default_factory=dict)

    def measure_steps(
        self, student: Student, whole: Train, train: Train, documents: int, corpus: int
    ) -> "StepSpeed | None":
        """Measure the steps of a training stage; None if it cannot be measured.

        Args:
            whole: the settings of all stages.
            documents: of an example.
            corpus: passages that the softmax over the corpus runs over.
        """
        sampled = self._open(student, whole)
        if sampled is None:
            return None
        try:
            return sampled.time_steps(train, documents, corpus)
        except UserError as fault:
            self.faults.append(f"training, {fault.where} {fault.what}")
            return None

    def measure_texts(self, student: Student, whole: Train) -> TextSeconds | None:
        """Measure how long a text takes to embed; None if it cannot be measured."""
        sampled = self._open(student, whole)
        key = student.model_dump_json()
        if sampled is not None and key not in self._embedded:
            document, query = map(sampled.time_embedding, (sampled.documents, sampled.queries))
            self._embedded[key] = TextSeconds(make_exact_amount(document), make_exact_amount(query))
        return self._embedded.get(key)

    def _open(self, student: Student, train: Train) -> "SampledStudent | None":
        """Open a student once; None without texts or if it is not available."""
        key = student.model_dump_json()
        if key not in self._students:
            self._students[key] = self._build(student, train) if self.texts else None
        return self._students[key]

    def _build(self, student: Student, train: Train) -> "SampledStudent | None":
        from distill.student.build import read_vocabulary_texts
        from distill.train.timed_steps import SampledStudent

        dimensions = self.dimensions() if student.architecture == "static" else 0
        if dimensions is None:
            return None
        corpus = [] if self.passages is None or student.vocabulary == "all" else [self.passages]
        vocabulary = read_vocabulary_texts(student, corpus)
        try:
            return SampledStudent(student, train, self.seed, self.texts, vocabulary, dimensions)
        except UserError as fault:
            self.faults.append(f"{fault.where} {fault.what}")
            return None
