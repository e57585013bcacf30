"""What a student is trained on: contrast (Gecko, equation 3), alignment with a teacher's vectors
(LEAF; jina-v5), and their weighted sum."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from distill.recipe import Train


def contrastive(
    vectors: Sequence[Tensor], ids: Tensor, temperature: float, same_tower: bool
) -> Tensor:
    """InfoNCE of Gecko's equation 3: each query against its positive, every other positive and
    (`same_tower`) every other query of the batch, and its own hard negatives alone.

    sentence-transformers' MultipleNegativesRankingLoss puts everybody's hard negatives into each
    query's denominator and does not know which texts are the same, hence this one.

    Args:
        vectors: one (batch, dimensions) of unit vectors a column: query, positive, and any number
            of negatives.
        ids: (batch, columns), which text stands where. What is the same text as one of the query's
            own documents, or the same query, is no negative and is masked.

    Returns:
        The mean over the batch, a scalar.
    """
    queries, positives, *negatives = (v.float() for v in vectors)
    rows = torch.arange(len(queries), device=queries.device)
    itself = torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    own = ids[:, 1:]
    logits = [queries @ positives.T]
    masks = [(ids[None, :, 1, None] == own[:, None, :]).any(-1) & ~itself]
    if same_tower:
        logits.append(queries @ queries.T)
        masks.append(ids[:, None, 0] == ids[None, :, 0])
    for column, negative in enumerate(negatives, start=2):
        logits.append((queries * negative).sum(-1, keepdim=True))
        masks.append((ids[:, column] == ids[:, 1])[:, None])
    scores = torch.cat(logits, dim=1) / temperature
    return F.cross_entropy(scores.masked_fill(torch.cat(masks, dim=1), -torch.inf), rows)


def over_widths(
    loss: Callable[[Sequence[Tensor]], Tensor], vectors: Sequence[Tensor], widths: Sequence[int]
) -> Tensor:
    """The mean of a loss over Matryoshka widths (2205.13147): the first so many dimensions, again
    at unit length. The encoder has run once for all of them."""
    losses = [
        loss([F.normalize(v[:, :width].float(), dim=-1) for v in vectors]) for width in widths
    ]
    return torch.stack(losses).mean()


def alignment(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cosine distance, 1 - cos, between rows; both (texts, teacher dimensions). Scalar."""
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)).mean()


def make_projection(student: int, teacher: int, seed: int) -> nn.Module:
    """Student to teacher, as in jina-v5: from teacher to student, trained along, it would not
    train. Where the widths agree there is none. Without bias: a bias could hold what all teacher
    vectors have in common, and the student would not need to learn it."""
    if student == teacher:
        return nn.Identity()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(student, teacher, bias=False)


class Objective(nn.Module):
    """The weighted sum of contrast and alignment, for batches of examples (query, positive,
    negatives) and of plain texts (one column; alignment alone).

    `labels` holds the texts' numbers, (batch, columns): they tell which texts are the same, and
    are what `teacher` is asked for: (n,) numbers to (n, teacher dimensions) vectors. Alignment is
    at the full width. `terms` collects each unweighted term since it was last emptied.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        settings: Train,
        teacher: Callable[[Tensor], Tensor] | None,
        projection: nn.Module,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.widths = settings.widths or [int(model.get_embedding_dimension() or 0)]
        self.teacher = teacher
        self.projection = projection
        self.terms: dict[str, list[Tensor]] = defaultdict(list)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        vectors = [self.model(features)["sentence_embedding"] for features in sentence_features]
        settings, weights = self.settings, self.settings.objective
        total = vectors[0].new_zeros((), dtype=torch.float32)
        if len(vectors) > 1 and weights.infonce:
            contrast = over_widths(
                lambda cut: contrastive(
                    cut, labels, settings.infonce.temperature, settings.infonce.same_tower
                ),
                vectors,
                self.widths,
            )
            total = total + weights.infonce * self._note("infonce", contrast)
        if self.teacher is not None:
            teacher = self.teacher(labels.T.flatten()).to(labels.device)
            distance = alignment(self.projection(torch.cat(vectors)), teacher)
            name = "align" if len(vectors) > 1 else "align_texts"
            total = total + weights.align * self._note(name, distance)
        return total

    def _note(self, name: str, term: Tensor) -> Tensor:
        self.terms[name].append(term.detach())
        return term
