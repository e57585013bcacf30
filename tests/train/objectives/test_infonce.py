"""Contrast against equation 3 read with loops, against the library's, and its masks by property."""

import pytest
import torch
from helpers import reference_losses
from helpers.reference_losses import draw_columns, number_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from distill.recipe import InfoNCE
from distill.train.objectives.infonce import compute_infonce

REPEATED = torch.tensor(
    [
        [0, 10, 20, 21],
        [1, 10, 22, 23],  # the first one's positive
        [2, 20, 24, 25],  # the first one's hard negative
        [0, 13, 26, 27],  # the first one's query
        [4, 14, 14, 28],  # its own positive as a negative
        [5, 29, 10, 20],  # the first one's positive and hard negative as negatives
    ]
)
CASES = [
    {"same_tower": False},
    {"same_tower": True},
    {"hard_negatives": "shared"},
    {"margin": 0.1},
    {"margin": -0.2},
    {"hardness": 5.0},
    {"hard_negatives": "shared", "margin": 0.0, "hardness": 2.0, "same_tower": False},
]


def contrast(vectors, numbers, in_batch=None, **keys):
    asked = InfoNCE(**{"temperature": 0.2, **keys})
    return compute_infonce(vectors, numbers, asked, asked.temperature, in_batch)


@pytest.mark.parametrize("keys", CASES, ids=str)
@pytest.mark.parametrize("negatives", [0, 1, 2])
@pytest.mark.parametrize("numbers", [number_texts(6, 2), REPEATED], ids=["distinct", "repeated"])
@pytest.mark.parametrize("in_batch", [None, [True, False, True, True, False, True]])
def test_infonce_is_equation_3_read_row_by_row(numbers, negatives, keys, in_batch):
    vectors, numbers = draw_columns(6, negatives), numbers[:, : 2 + negatives]
    mask = None if in_batch is None else torch.tensor(in_batch)
    loss = contrast(vectors, numbers, mask, **keys)
    asked = InfoNCE(temperature=0.2, **keys)
    assert float(loss) == pytest.approx(
        reference_losses.infonce(vectors, numbers, asked, in_batch), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize(
    ("negatives", "keys", "theirs"),
    [
        (0, {"same_tower": False}, {}),
        (0, {"same_tower": True}, {"directions": ("query_to_doc", "query_to_query")}),
        (2, {"same_tower": False, "hard_negatives": "shared"}, {}),
        (
            2,
            {"same_tower": False, "hard_negatives": "shared", "hardness": 5.0},
            {"hardness_mode": "hard_negatives", "hardness_strength": 5.0},
        ),
    ],
)
def test_infonce_without_repeats_is_the_librarys_loss(negatives, keys, theirs):
    vectors = draw_columns(6, negatives)
    library = MultipleNegativesRankingLoss(None, scale=20.0, **theirs)
    expected = library.compute_loss_from_embeddings(vectors, torch.empty(0))
    ours = contrast(vectors, number_texts(6, negatives), temperature=0.05, **keys)
    assert torch.allclose(ours, expected)


def of_query(row, vectors, numbers, **keys):
    """The gradient of one query: without the same tower, no other row's loss has a part in it."""
    queries = vectors[0].clone().requires_grad_()
    contrast([queries, *vectors[1:]], numbers, same_tower=False, **keys).backward()
    return queries.grad[row]


@pytest.mark.parametrize(("shared", "matters"), [("own", False), ("shared", True)])
def test_hard_negatives_of_other_rows_matter_only_where_shared(shared, matters):
    vectors, numbers = draw_columns(4, 1), number_texts(4, 1)
    moved = [*vectors[:2], torch.cat([vectors[2][:1], -vectors[2][1:]])]
    before, after = (of_query(0, of, numbers, hard_negatives=shared) for of in (vectors, moved))
    assert torch.allclose(before, after) is not matters


def test_infonce_without_in_batch_leaves_a_row_its_own_negatives_alone():
    vectors, numbers = draw_columns(5, 2), number_texts(5, 2)
    alone = [contrast([v[i : i + 1] for v in vectors], numbers[i : i + 1]) for i in range(5)]
    off = contrast(vectors, numbers, torch.zeros(5, dtype=torch.bool))
    assert torch.allclose(off, torch.stack(alone).mean())


def test_masked_texts_send_no_gradient():
    vectors = [v.requires_grad_() for v in draw_columns(2, 0)]
    numbers = torch.tensor([[0, 5], [1, 5]])  # two queries, one passage
    contrast(vectors, numbers, same_tower=False).backward()
    assert all(torch.count_nonzero(v.grad) == 0 for v in vectors)


def test_hardness_weighs_but_sends_no_gradient_of_its_own():
    """The gradient is the weighted softmax's, not that of the weights."""
    vectors = [v.double().requires_grad_() for v in draw_columns(1, 1)]
    contrast(vectors, number_texts(1, 1), temperature=1.0, hardness=3.0).backward()
    query, positive, negative = (v.detach() for v in vectors)
    near, far = float((query * positive).sum()), float((query * negative).sum())
    share = 1 / (1 + torch.tensor(near - far - 3.0 * far).exp())
    assert torch.allclose(vectors[2].grad, (share * query).float().double(), atol=1e-6)


def test_batch_of_one_without_negatives_costs_nothing_and_is_a_number():
    assert contrast(draw_columns(1, 0), number_texts(1, 0), temperature=0.05).item() == 0


def test_wrong_shapes_say_what_was_got_and_expected():
    vectors = draw_columns(4, 1)
    with pytest.raises(ValueError, match=r"numbers: got \(4, 2\), expected \(4, 3\)"):
        contrast(vectors, number_texts(4, 0))
    with pytest.raises(ValueError, match=r"column 2: got \(3, 16\), expected \(4, 16\)"):
        contrast([*vectors[:2], vectors[2][:3]], number_texts(4, 1))
    with pytest.raises(ValueError, match="got 1, expected at least 2"):
        contrast(vectors[:1], number_texts(4, 0)[:, :1])
    with pytest.raises(ValueError, match=r"in_batch: got \(3,\), expected \(4,\)"):
        contrast(vectors, number_texts(4, 1), torch.ones(3, dtype=torch.bool))


@st.composite
def batches(draw):
    """Numbers with many repeats, and settings of every kind."""
    rows, negatives = draw(st.integers(1, 5)), draw(st.integers(0, 2))
    text = st.integers(10, 16)
    row = st.tuples(st.integers(0, 3), *[text] * (1 + negatives))
    numbers = torch.tensor(draw(st.lists(row, min_size=rows, max_size=rows)))
    keys = {
        "same_tower": draw(st.booleans()),
        "hard_negatives": draw(st.sampled_from(["own", "shared"])),
        "margin": draw(st.sampled_from([None, 0.0, 0.1])),
        "hardness": draw(st.sampled_from([0.0, 5.0])),
    }
    in_batch = torch.tensor(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    vectors = [reference_losses.draw_unit_vectors(20, 8, seed=7)[column] for column in numbers.T]
    return vectors, numbers, in_batch, keys


@given(batch=batches(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_order_of_the_rows_does_not_matter(batch, data):
    vectors, numbers, in_batch, keys = batch
    order = data.draw(st.permutations(range(len(numbers))))
    shuffled = contrast([v[order] for v in vectors], numbers[order], in_batch[order], **keys)
    assert torch.allclose(shuffled, contrast(vectors, numbers, in_batch, **keys), atol=1e-5)


@given(batch=batches(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_numbers_of_texts_do_not_matter_to_infonce(batch, data):
    vectors, numbers, in_batch, keys = batch
    other = torch.tensor(data.draw(st.permutations(range(20))))
    renamed = contrast(vectors, other[numbers], in_batch, **keys)
    assert torch.allclose(renamed, contrast(vectors, numbers, in_batch, **keys), atol=1e-5)


@given(batch=batches())
@settings(max_examples=50, deadline=None)
def test_masked_text_never_changes_the_loss(batch):
    """Another row's positive that is known to the first row may be anything."""
    vectors, numbers, _, keys = batch
    keys = {"hardness": keys["hardness"]}
    known = (numbers[:, 1, None] == numbers[0, 1:]).any(-1) | (numbers[:, 0] == numbers[0, 0])
    known[0] = False
    elsewhere = torch.where(
        known[:, None], reference_losses.draw_unit_vectors(len(numbers), 8, seed=9), vectors[1]
    )
    moved = [vectors[0], elsewhere, *vectors[2:]]
    assert torch.allclose(
        of_query(0, vectors, numbers, **keys), of_query(0, moved, numbers, **keys), atol=1e-6
    )


@given(batch=batches())
@settings(max_examples=50, deadline=None)
def test_negatives_beyond_the_margin_are_as_if_not_in_the_batch(batch):
    vectors, numbers, in_batch, keys = batch
    keys = keys | {"margin": -2.1}  # beneath every similarity
    alone = contrast(vectors, numbers, torch.zeros_like(in_batch), **keys)
    assert torch.allclose(contrast(vectors, numbers, in_batch, **keys), alone, atol=1e-6)
