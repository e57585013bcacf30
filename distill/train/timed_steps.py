"""Time a student's training before there is anything to train on: a few steps of its own objective
on some passages, with random vectors and scores in place of a teacher's."""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize

from distill.recipe import CorpusSoftmax, Student, Train
from distill.runtime.devices import check_device, get_torch_dtype
from distill.student.build import build_student
from distill.student.static.tokens import count_vectors, make_tokenizer
from distill.text.format import PromptedText
from distill.train.data.tokenized import TokenizedTexts
from distill.train.loop.diagnostics import embed
from distill.train.loop.model_overrides import (
    check_kernel,
    override_attention,
    override_dropout,
)
from distill.train.loop.trainer import choose_train_device
from distill.train.objectives import CombinedLoss
from distill.train.objectives.corpus_softmax import BatchPools, CorpusSoftmaxLoss
from distill.train.stage import prepare_for_training
from distill.train.static.base import make_static_model

QUERY_CHARACTERS = 80
"""Of a passage's beginning, which stands for a query: none is written yet."""
_STEPS = 2
"""Timed steps of each kind, after a small one that pays for what later ones find ready."""
_DOCUMENTS = 16_384
"""Most documents of the softmax over the corpus that are timed; more take as much more."""


class StepSpeed(NamedTuple):
    """Seconds of a training: of an `example` and of a plain `text`, there and back; of the
    optimiser in a `step`, and of the softmax over the `corpus` in a step, whatever its rows are."""

    example: float
    text: float
    step: float
    corpus: float


class SampledStudent:
    """An untrained student, as it would be trained, and the texts that its steps are timed on.

    Args:
        train: of the whole training.
        texts: passages, at least one.
        vocabulary: the texts whose tokens the student keeps; None: all tokens are.
        dimensions: of a static student's vectors.

    Raises:
        UserError: if its encoder or its device is not available.
    """

    def __init__(
        self,
        student: Student,
        train: Train,
        seed: int,
        texts: Sequence[str],
        vocabulary: Iterable[str] | None,
        dimensions: int,
    ) -> None:
        check_device(train.device, "train.device")
        self.model = _build(student, seed, vocabulary, dimensions)
        prepare_for_training(self.model, student, train, seed)
        self.model.to(choose_train_device(train))
        form, task = student.text_format, student.default_task
        self.documents = [form.write_document(text) for text in texts]
        self.queries = [form.write_query(text[:QUERY_CHARACTERS], task) for text in texts]

    def time_embedding(self, texts: Sequence[PromptedText]) -> float:
        """Return the seconds that a text takes where it is embedded and nothing learnt."""
        embed(self.model, texts[:2])
        return _time(lambda: embed(self.model, texts)) / len(texts)

    def time_steps(self, train: Train, documents: int, corpus: int) -> StepSpeed:
        """Time the steps of a training stage, on batches of at most its own size.

        Args:
            documents: of an example: its positive, its negatives and further candidates.
            corpus: the passages that the softmax over the corpus runs over.
        """
        check_kernel(train.kernel)
        count = len(self.documents)
        columns = 1 if train.objective.trains_queries_alone else 1 + documents
        rows = min(train.batch_size, count // (_STEPS * max(1, columns - 1)))
        plain = min(train.align.batch_size, count // _STEPS)
        aligned = train.objective.align and train.align.passages + train.align.sentences
        with (
            tempfile.TemporaryDirectory() as folder,
            override_dropout(self.model, train.dropout),
            override_attention(self.model, train.kernel),
        ):
            texts = [*self.queries, *self.documents]
            timer = _StepTimer(
                self.model, train, TokenizedTexts(Path(folder) / "t", self.model, texts)
            )
            return StepSpeed(
                timer.time_rows(columns, max(2, rows)),
                timer.time_rows(1, max(2, plain)) if aligned else 0.0,
                _time(timer.optimizer.step),
                self._time_softmax(train, corpus) if train.objective.trains_queries_alone else 0.0,
            )

    def _time_softmax(self, train: Train, corpus: int) -> float:
        """Time the softmax over the corpus, there and back, with random vectors."""
        settings = train.corpus_softmax
        size = corpus if corpus <= settings.documents else settings.sample
        timed = min(size, _DOCUMENTS)
        device, width = self.model.device, int(self.model.get_embedding_dimension() or 0)
        loss = _make_softmax(timed, width, settings)
        queries = _draw_vectors(train.batch_size, width).to(device).requires_grad_()
        numbers = torch.arange(train.batch_size)
        loss(queries, numbers)  # which reads the documents
        return _time(lambda: loss(queries, numbers).backward()) * size / timed


class _StepTimer:
    """Steps of one training stage. `tokens` are of the queries, then of as many documents."""

    def __init__(self, model: SentenceTransformer, train: Train, tokens: TokenizedTexts) -> None:
        width = int(model.get_embedding_dimension() or 0)
        alone = train.objective.trains_queries_alone
        self._tokens, self._device = tokens, model.device
        self._loss = CombinedLoss(
            model,
            train,
            lambda numbers: _draw_vectors(len(numbers), width),
            nn.Identity(),
            lambda numbers: torch.rand(len(numbers), self._columns - 1),
            corpus_softmax=_make_softmax(2, width, train.corpus_softmax) if alone else None,
        )
        self._columns = 0
        self._dtype = get_torch_dtype(train.dtype, self._device.type)
        trained = [weight for weight in self._loss.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0)
        if train.gradient_checkpointing:
            model.gradient_checkpointing_enable()

    def time_rows(self, columns: int, rows: int) -> float:
        """Return the mean seconds of a row, there and back."""
        self._columns = columns
        self._learn(2, 0)
        spent = sum(_time(partial(self._learn, rows, number)) for number in range(_STEPS))
        return spent / (_STEPS * rows)

    def _learn(self, rows: int, number: int) -> None:
        """Compute the gradients of a batch; the first column are queries, unless it is the only
        one and of plain texts."""
        self.optimizer.zero_grad()
        count = len(self._tokens.lengths) // 2
        plain = self._columns == 1 and self._loss.corpus_softmax is None
        features = []
        for column in range(self._columns):
            first = (max(0, column - 1) + number * max(1, self._columns - 1)) * rows
            side = 0 if column == 0 and not plain else count
            texts = [side + (first + row) % count for row in range(rows)]
            batch = self._tokens.collate(texts)
            features.append({key: _move(value, self._device) for key, value in batch.items()})
        labels = torch.arange(rows * (1 + self._columns)).view(1 + self._columns, rows).T
        labels = labels.to(self._device)
        half = self._dtype == torch.bfloat16
        self._loss.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            loss = self._loss(features, labels)
        loss.backward()


def _build(
    student: Student, seed: int, vocabulary: Iterable[str] | None, dimensions: int
) -> SentenceTransformer:
    if student.architecture == "transformer":
        return build_student(student, seed, vocabulary)
    tokenizer = make_tokenizer(student, vocabulary)
    vectors = _draw_vectors(count_vectors(tokenizer), dimensions).numpy()
    return make_static_model(student, tokenizer, vectors)


def _make_softmax(documents: int, width: int, settings: CorpusSoftmax) -> CorpusSoftmaxLoss:
    """Make the softmax over a corpus of random vectors, in which each query has one candidate."""

    def take(numbers: Tensor) -> BatchPools:
        return BatchPools(
            torch.zeros(len(numbers), 1, dtype=torch.int64), torch.ones(len(numbers), 1)
        )

    vectors = _draw_vectors(documents, width).numpy()
    whole = settings.model_copy(update={"documents": max(documents, settings.documents)})
    return CorpusSoftmaxLoss(vectors, take, whole)


def _draw_vectors(count: int, width: int) -> Tensor:
    """Draw unit vectors, (count, width)."""
    return normalize(torch.randn(count, width), dim=-1)


def _move(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _time(work: Callable[[], object]) -> float:
    """Return the seconds that work takes, until the device has finished it."""
    begun = time.perf_counter()
    work()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter() - begun
