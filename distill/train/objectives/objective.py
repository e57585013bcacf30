"""The loss of a student's training: the weighted sum of the terms that the recipe names."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import get_world_size
from torch import Tensor, nn

from distill.recipe import Train
from distill.train.objectives.align import compute_alignment
from distill.train.objectives.corpus_softmax import CorpusSoftmaxLoss
from distill.train.objectives.cosent import compute_cosent
from distill.train.objectives.gor import compute_gor
from distill.train.objectives.gradcache import embed_cached
from distill.train.objectives.infonce import compute_infonce
from distill.train.objectives.inputs import check_shape
from distill.train.objectives.kl import compute_kl
from distill.train.objectives.margin_mse import compute_margin_mse
from distill.train.objectives.matryoshka import LossTerms, average_over_widths
from distill.train.objectives.multi_positive import compute_multi_positive
from distill.train.objectives.teacher.relative_order import compute_relative_order
from distill.train.objectives.teacher.similarity_matrix import compare_similarity_matrices

Lookup = Callable[[Tensor], Tensor]
_MIN_TEMPERATURE = 0.01
"""As in CLIP (2103.00020): a temperature that fell further would only sharpen noise."""


class AuxiliaryParameters(nn.Module):
    """The projection to the teacher's width and, where it is learned, the contrast's temperature. A
    checkpoint holds its `state_dict`, which is empty where no objective has parameters.

    Distributed training averages the student's gradients over the processes, and does not know of
    this module; it averages its own. So every process must train on the same terms in every step.
    """

    def __init__(self, projection: nn.Module, learned_temperature: float | None) -> None:
        super().__init__()
        self.projection = projection
        if learned_temperature is not None:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(learned_temperature)))
        for parameter in self.parameters():
            parameter.register_hook(_average_over_processes)

    def compute_temperature(self) -> Tensor:
        """Return a scalar; of its logarithm the gradient is of the same size at any temperature."""
        with (
            torch.no_grad()
        ):  # were the bound in the graph, what fell below it could not rise again
            self.log_temperature.clamp_(min=math.log(_MIN_TEMPERATURE))
        return self.log_temperature.exp()


def _average_over_processes(gradient: Tensor) -> Tensor:
    if get_world_size() == 1:
        return gradient
    total = gradient.clone()
    torch.distributed.all_reduce(total)
    return total / get_world_size()


class BatchContext(NamedTuple):
    """The properties of a batch besides its texts: `numbers`, (batch, columns); the teacher's
    `vectors`, column after column, (columns x batch, teacher dimensions); `scores`, (batch, columns
    - 1); `in_batch`, (batch,); and how many columns the contrast has."""

    numbers: Tensor
    vectors: Tensor | None
    scores: Tensor | None
    in_batch: Tensor | None
    contrasted: int


class CombinedLoss(nn.Module):
    """The weighted sum of `train.objective`, for batches of examples (query, positive, negatives)
    and of plain texts (one column); with `corpus_softmax`, for batches of queries alone.

    `labels`, (batch, 1 + columns), holds an example's number and its texts' numbers. What is known
    of them is looked up on the CPU: the teacher's vectors by text, (n,) to (n, teacher dimensions);
    soft scores by example, (n,) to (n, columns - 1), NaN where unknown; whether others of the batch
    may be an example's negatives, (n,) to (n,); and how many of an example's columns the contrast
    and the margins are of, where soft labels are learnt of more, (n,) to (n,).

    Every term but the alignment is the mean over the Matryoshka widths: the teacher's space has the
    student's full width (or the projection does), and a shortened vector no place in it.

    `terms` collects each unweighted term since it was last emptied, under its name; of plain texts,
    under its name and "_texts". `auxiliary` is what a checkpoint must hold besides the model.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        settings: Train,
        teacher: Lookup | None,
        projection: nn.Module,
        scores: Lookup | None = None,
        in_batch: Lookup | None = None,
        contrasted: Lookup | None = None,
        corpus_softmax: CorpusSoftmaxLoss | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.widths = settings.widths or [int(model.get_embedding_dimension() or 0)]
        self.teacher = teacher
        self.scores = scores
        self.in_batch = in_batch
        self.contrasted = contrasted
        self.corpus_softmax = corpus_softmax
        contrast = settings.infonce
        learned = settings.objective.infonce > 0 and contrast.learn_temperature
        self.auxiliary = AuxiliaryParameters(projection, contrast.temperature if learned else None)
        self.terms: dict[str, list[Tensor]] = defaultdict(list)

    @property
    def projection(self) -> nn.Module:
        """The trained map from the student's vectors to the teacher's."""
        return self.auxiliary.projection

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Compute the weighted sum of the losses over a batch (see `BatchContext`)."""
        vectors = self._embed(list(sentence_features))
        check_shape("labels", labels, len(vectors[0]), 1 + len(vectors))
        with torch.autocast(labels.device.type, enabled=False):
            return self._sum([column.float() for column in vectors], labels)

    def _sum(self, vectors: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Sum in float32 whatever the encoder computes in: over a temperature of 0.05, bfloat16's
        rounding of a cosine is some hundredths of a nat."""
        # Every text has a gradient, if it be 0, also where the batch holds nothing to learn from.
        total = torch.cat(list(vectors)).sum() * 0
        for name, term in self._compute_terms(vectors, labels).items():
            total = total + getattr(self.settings.objective, name) * term
            plain = len(vectors) == 1 and self.corpus_softmax is None
            self.terms[f"{name}_texts" if plain else name].append(term.detach())
        return total

    def _embed(self, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
        if self.settings.mini_batch_tokens is not None:
            return embed_cached(self.model, columns, self.settings.mini_batch_tokens)
        return [self.model(features)["sentence_embedding"] for features in columns]

    def _compute_terms(self, vectors: Sequence[Tensor], labels: Tensor) -> LossTerms:
        """Return every term with a weight that this batch knows enough for, by its name in the
        recipe."""
        if self.corpus_softmax is not None:
            return {"corpus_softmax": self.corpus_softmax(vectors[0], labels[:, 0])}
        known = self._look_up(labels)
        terms = average_over_widths(
            lambda cut: self._cut_to_width(cut, known), vectors, self.widths
        )
        if known.vectors is not None and self.settings.objective.align:
            projected = self.projection(torch.cat(list(vectors)))
            terms["align"] = compute_alignment(
                projected, known.vectors, self.settings.align.distance
            )
        return terms

    def _look_up(self, labels: Tensor) -> BatchContext:
        weights, numbers = self.settings.objective, labels[:, 1:]

        def ask(lookup: Lookup | None, wanted: Tensor) -> Tensor | None:
            return None if lookup is None else lookup(wanted.cpu()).to(labels.device)

        vectors = ask(self.teacher, numbers.T.flatten()) if weights.needs_teacher_vectors else None
        if numbers.shape[1] == 1:
            return BatchContext(numbers, vectors, None, None, 1)
        scores = ask(self.scores, labels[:, 0]) if weights.needs_scores else None
        contrasted = ask(self.contrasted, labels[:1, 0])
        columns = numbers.shape[1] if contrasted is None else int(contrasted)
        return BatchContext(numbers, vectors, scores, ask(self.in_batch, labels[:, 0]), columns)

    def _cut_to_width(self, vectors: Sequence[Tensor], known: BatchContext) -> LossTerms:
        weights, settings, terms = self.settings.objective, self.settings, LossTerms()
        chosen = vectors[: known.contrasted]
        if weights.gor:
            terms["gor"] = compute_gor(vectors)
        if known.vectors is not None and weights.similarity_matrix:
            terms["similarity_matrix"] = compare_similarity_matrices(
                torch.cat(list(vectors)), known.vectors
            )
        if known.vectors is not None and weights.relative_order:
            seed = int(known.numbers.sum())
            texts = torch.cat(list(vectors))
            terms["relative_order"] = compute_relative_order(texts, known.vectors, seed)
        if len(vectors) > 1 and weights.infonce:
            numbers = known.numbers[:, : known.contrasted]
            terms["infonce"] = compute_infonce(
                chosen, numbers, settings.infonce, self._temperature, known.in_batch
            )
        if known.scores is not None and weights.multi_positive:
            terms["multi_positive"] = compute_multi_positive(
                vectors, known.numbers, known.scores, settings.multi_positive, known.in_batch
            )
        if known.scores is not None and weights.kl:
            terms["kl"] = compute_kl(vectors, known.scores, settings.kl)
        if known.scores is not None and weights.margin_mse:
            scores = known.scores[:, : known.contrasted - 1]
            terms["margin_mse"] = compute_margin_mse(chosen, scores, settings.margin_mse)
        if known.scores is not None and weights.cosent:
            terms["cosent"] = compute_cosent(vectors, known.scores[:, 0])
        return terms

    @property
    def _temperature(self) -> float | Tensor:
        contrast = self.settings.infonce
        if contrast.learn_temperature:
            return self.auxiliary.compute_temperature()
        return contrast.temperature
