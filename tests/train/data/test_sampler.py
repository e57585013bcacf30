"""Batches hold every row once, and little padding; examples of one positive are kept apart."""

import math
import random
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset

from distill.errors import UserError
from distill.train.data.sampler import MixedBatchSampler, NoSharedPositiveSampler

DRAW = random.Random(0)
LENGTHS = [DRAW.randrange(5, 200) for _ in range(1000)]


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(batches) -> int:
    return sum(len(batch) * max(LENGTHS[text] for text in batch) for batch in batches)


def dealt(positives, size, processes=1, seed=1, lengths=None):
    return NoSharedPositiveSampler(positives, lengths, size, processes, generator(seed))


POSITIVES = [DRAW.randrange(120) for _ in range(1000)]


@given(
    positives=st.lists(st.integers(0, 20), min_size=1, max_size=120),
    size=st.integers(4, 16),
    processes=st.sampled_from([1, 1, 2, 3]),
    by_length=st.booleans(),
    seed=st.integers(0, 5),
)
@settings(deadline=None)
def test_positives_rows_are_spread_over_the_batches(positives, size, processes, by_length, seed):
    lengths = np.array(LENGTHS[: len(positives)]) if by_length else None
    sampler = dealt(positives, size, processes, seed, lengths)
    batches = list(sampler)
    assert len(batches) == len(sampler) <= math.ceil(len(positives) / size)
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows) == len(positives) // processes * processes
    if batches:
        assert max(map(len, batches)) - min(map(len, batches)) in (0, processes)
        assert all(len(batch) % processes == 0 for batch in batches)
    if processes == 1:
        assert max(map(len, batches)) <= size
        for positive, rows_of_it in Counter(positives).items():
            share = math.ceil(rows_of_it / len(batches))
            for batch in batches:
                assert sum(positives[row] == positive for row in batch) <= share


def test_frequent_positive_does_not_make_batches_smaller():
    """200 of 1,000 rows have one positive: no batch of 32 has more than seven."""
    positives = [-1] * 200 + list(range(800))
    for lengths in (None, np.array(LENGTHS)):
        batches = list(dealt(positives, 32, lengths=lengths))
        assert len(batches) == 32
        assert {len(batch) for batch in batches} == {31, 32}
        assert max(sum(positives[row] == -1 for row in batch) for batch in batches) == 7


def recurring(positives, size, lengths) -> float:
    """The share of an epoch's pairs of rows in a batch that are in one again in the next."""
    first, second = (
        {pair for batch in dealt(positives, size, 1, seed, lengths) for pair in pairs(batch)}
        for seed in (1, 2)
    )
    return len(first & second) / len(first)


def pairs(batch):
    return combinations(sorted(batch), 2)


def test_batches_by_length_have_less_padding_and_no_order():
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
    samplers = [dealt(list(range(size)), 4, processes) for size in sizes]
    return MixedBatchSampler(
        parts, processes, batch_samplers=samplers, generator=generator(), seed=seed
    )


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


def test_processes_share_the_batches_that_one_process_takes():
    sampler, alone = blocks([41, 23], 2), blocks([41, 23], 1)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 2 * len(alone)
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert len(first) == len(second) <= 2
        assert (first[0] < 41) == (second[0] < 41)
    assert len({row for batch in batches for row in batch}) == 40 + 22
    even = [sorted(a + b) for a, b in zip(*[iter(blocks([16, 8], 2))] * 2, strict=True)]
    assert even == [sorted(batch) for batch in blocks([16, 8], 1)]


def test_too_few_examples_for_the_processes_are_refused():
    with pytest.raises(UserError, match=r"3 rows are not one for each"):
        blocks([1, 2], 3)
