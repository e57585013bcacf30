"""The objectives against slow and obvious versions of themselves, and against the library's."""

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn import functional as F

from distill.student.losses import alignment, contrastive, make_projection, over_widths


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def columns(rows: int, negatives: int, width: int = 16) -> list[torch.Tensor]:
    return [unit(rows, width, seed=i) for i in range(2 + negatives)]


def distinct(rows: int, negatives: int) -> torch.Tensor:
    return torch.arange(rows * (2 + negatives)).reshape(rows, -1)


def one_by_one(vectors, ids, temperature, same_tower) -> float:
    """Equation 3, read out row by row with plain numbers."""
    queries, positives, *negatives = [v.tolist() for v in vectors]
    ids = ids.tolist()

    def exp(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    losses = []
    for i, query in enumerate(queries):
        own_documents = ids[i][1:]
        top = exp(query, positives[i])
        below = top
        for j in range(len(queries)):
            if j == i:
                continue
            if ids[j][1] not in own_documents:
                below += exp(query, positives[j])
            if same_tower and ids[j][0] != ids[i][0]:
                below += exp(query, queries[j])
        for place, negative in enumerate(negatives, start=2):
            if ids[i][place] != ids[i][1]:
                below += exp(query, negative[i])
        losses.append(-math.log(top / below))
    return sum(losses) / len(losses)


REPEATED = torch.tensor(
    [
        [0, 10, 20, 21],
        [1, 10, 22, 23],  # the first one's positive
        [2, 20, 24, 25],  # the first one's hard negative
        [0, 13, 26, 27],  # the first one's query
        [4, 14, 14, 28],  # its own positive as a negative
    ]
)


@pytest.mark.parametrize("same_tower", [True, False])
@pytest.mark.parametrize("negatives", [0, 1, 2])
@pytest.mark.parametrize("ids", [distinct(5, 2), REPEATED], ids=["distinct", "repeated"])
def test_contrast_is_equation_3_read_row_by_row(ids, negatives, same_tower):
    vectors, ids = columns(5, negatives), ids[:, : 2 + negatives]
    loss = contrastive(vectors, ids, 0.2, same_tower)
    assert float(loss) == pytest.approx(one_by_one(vectors, ids, 0.2, same_tower), rel=1e-5)


@pytest.mark.parametrize(
    ("same_tower", "directions"),
    [(False, ("query_to_doc",)), (True, ("query_to_doc", "query_to_query"))],
)
def test_without_hard_negatives_and_repeats_it_is_the_librarys_loss(same_tower, directions):
    vectors = columns(6, 0)
    library = MultipleNegativesRankingLoss(None, scale=20.0, directions=directions)
    theirs = library.compute_loss_from_embeddings(vectors, torch.empty(0))
    assert torch.allclose(contrastive(vectors, distinct(6, 0), 0.05, same_tower), theirs)


def test_anothers_hard_negative_does_not_matter():
    vectors, ids = columns(4, 1), distinct(4, 1)
    before = contrastive([v[:1] for v in vectors], ids[:1], 0.1, True)
    queries, positives, negatives = vectors
    far = torch.eye(16)[:1]  # alone with a batch mate that repeats query and positive
    twice = [torch.cat([queries[:1]] * 2), torch.cat([positives[:1]] * 2)]
    ids = torch.tensor([[0, 1, 2], [0, 1, 3]])
    own = contrastive([*twice, torch.cat([negatives[:1], far])], ids, 0.1, True)
    other = contrastive([*twice, torch.cat([negatives[:1], -far])], ids, 0.1, True)
    alone = contrastive([queries[:1], positives[:1], far], ids[:1], 0.1, True)
    assert torch.allclose(own, (before + alone) / 2)
    assert not torch.allclose(own, other)


def test_masked_texts_send_no_gradient():
    vectors = [v.requires_grad_() for v in columns(2, 0)]
    ids = torch.tensor([[0, 5], [1, 5]])  # two queries, one passage
    contrastive(vectors, ids, 0.1, same_tower=False).backward()
    assert all(torch.count_nonzero(v.grad) == 0 for v in vectors)


def test_a_batch_of_one_without_negatives_costs_nothing_and_is_a_number():
    assert contrastive(columns(1, 0), distinct(1, 0), 0.05, True).item() == 0


def test_over_widths_is_the_mean_of_shortened_and_lengthened_vectors():
    vectors, ids = columns(5, 1), distinct(5, 1)

    def loss(cut):
        return contrastive(cut, ids, 0.1, True)

    short = [v[:, :4] / v[:, :4].norm(dim=-1, keepdim=True) for v in vectors]
    assert torch.allclose(over_widths(loss, vectors, [16, 4]), (loss(vectors) + loss(short)) / 2)
    assert torch.allclose(over_widths(loss, vectors, [16]), loss(vectors))


def test_alignment_is_the_cosine_distance():
    vectors = unit(3, 8)
    assert alignment(vectors, vectors).item() == pytest.approx(0, abs=1e-6)
    assert alignment(vectors, -vectors).item() == pytest.approx(2)
    assert alignment(5 * vectors, vectors).item() == pytest.approx(0, abs=1e-6)


def test_a_projection_is_there_only_where_widths_differ_and_follows_the_seed():
    assert not list(make_projection(8, 8, seed=1).parameters())
    first, again, other = (make_projection(8, 12, seed=s) for s in (1, 1, 2))
    assert first(unit(3, 8)).shape == (3, 12)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
