"""Batches hold every row once, and little padding; examples of one positive are kept apart."""

import random
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset

from distill.errors import UserError
from distill.student.sampler import Blocks, NoSharedPositive

DRAW = random.Random(0)
LENGTHS = [DRAW.randrange(5, 200) for _ in range(1000)]


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(batches) -> int:
    return sum(len(batch) * max(LENGTHS[text] for text in batch) for batch in batches)


def dealt(positives, size, drop_last=False, seed=1, lengths=None):
    return NoSharedPositive(positives, lengths, size, drop_last, generator(seed))


POSITIVES = [DRAW.randrange(120) for _ in range(1000)]


@given(
    positives=st.lists(st.integers(0, 20), min_size=1, max_size=120),
    size=st.integers(2, 16),
    drop_last=st.booleans(),
    by_length=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(deadline=None)
def test_no_two_rows_of_a_batch_share_a_positive(positives, size, drop_last, by_length, seed):
    lengths = np.array(LENGTHS[: len(positives)]) if by_length else None
    sampler = dealt(positives, size, drop_last, seed, lengths)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows)
    for batch in batches:
        assert len({positives[row] for row in batch}) == len(batch)
    if drop_last:
        assert {len(batch) for batch in batches} <= {size}
    else:
        assert sorted(rows) == list(range(len(positives)))
        assert max(map(len, batches)) <= size
        assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_as_few_batches_as_the_commonest_positive_allows():
    assert len(dealt(list(range(100)), 8)) == 13
    assert len(dealt([7] * 20 + list(range(100, 130)), 8)) == 20
    assert len(dealt([7] * 20 + list(range(100, 130)), 8, drop_last=True)) == 4


def recurring(positives, size, lengths) -> float:
    """The share of an epoch's pairs of rows in a batch that are in one again in the next."""
    first, second = (
        {pair for batch in dealt(positives, size, False, seed, lengths) for pair in pairs(batch)}
        for seed in (1, 2)
    )
    return len(first & second) / len(first)


def pairs(batch):
    return combinations(sorted(batch), 2)


def test_by_length_there_is_less_padding_and_the_batches_are_in_no_order():
    lengths = np.array(LENGTHS)
    shuffled, batches = list(dealt(POSITIVES, 16)), list(dealt(POSITIVES, 16, lengths=lengths))
    assert padded(batches) < 1.25 * sum(LENGTHS) < padded(shuffled)
    longest = [max(LENGTHS[row] for row in batch) for batch in batches]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_rows_of_a_length_still_meet_others_in_the_next_epoch():
    """Also where all batches of a small set could be sorted together."""
    rows = list(range(500))
    assert recurring(rows, 32, None) < 0.1
    assert recurring(rows, 32, np.array(LENGTHS[:500])) < 0.3


def blocks(sizes, processes, seed=3):
    parts = ConcatDataset([list(range(size)) for size in sizes])
    samplers = [dealt(list(range(size)), 4, processes > 1) for size in sizes]
    return Blocks(parts, processes, batch_samplers=samplers, generator=generator(), seed=seed)


def test_datasets_take_turns_at_random_until_all_is_seen():
    sampler = blocks([17, 9], 1)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 5 + 3
    assert sorted(row for batch in batches for row in batch) == list(range(26))
    which = [batch[0] < 17 for batch in batches]
    assert which not in (sorted(which), sorted(which, reverse=True))
    assert list(blocks([17, 9], 1)) == batches
    sampler.set_epoch(1)
    assert list(sampler) != batches


def test_processes_take_full_batches_of_one_dataset_at_each_step():
    sampler = blocks([41, 23], 2)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 10 + 4
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert len(first) == len(second) == 4
        assert (first[0] < 41) == (second[0] < 41)


@pytest.mark.bad_input("student", "fewer examples than processes", "refused")
def test_too_few_examples_for_the_processes_are_refused():
    with pytest.raises(UserError, match=r"train\.batch_size"):
        blocks([7, 7], 2)
