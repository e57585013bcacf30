"""Measure what the recipe's student takes to train and to embed, on a sample of the corpus."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
        with self._note_faults("training, "):
            return sampled.time_steps(train, documents, corpus)
        return None

    def measure_texts(self, student: Student, whole: Train) -> TextSeconds | None:
        """Measure how long a text takes to embed; None if it cannot be measured."""
        sampled = self._open(student, whole)
        key = student.model_dump_json()
        if sampled is not None and key not in self._embedded:
            with self._note_faults("embedding, "):
                times = map(sampled.time_embedding, (sampled.documents, sampled.queries))
                self._embedded[key] = TextSeconds(*map(make_exact_amount, times))
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
        with self._note_faults(""):
            return SampledStudent(student, train, self.seed, self.texts, vocabulary, dimensions)
        return None

    @contextmanager
    def _note_faults(self, what: str) -> Iterator[None]:
        """Note what cannot be measured, also for want of memory: the LLM of the sample may still
        be open, which training never finds."""
        try:
            yield
        except UserError as fault:
            self.faults.append(f"{what}{fault.where} {fault.what}")
        except RuntimeError as fault:
            from distill.runtime.devices import free_memory
            from distill.runtime.out_of_memory import is_out_of_memory

            if not is_out_of_memory(fault):
                raise
            free_memory()
            self.faults.append(f"{what}too little memory beside the models of the sample")
