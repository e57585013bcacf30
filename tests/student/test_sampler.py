"""Batches of similar length hold every text once, and little padding."""

import random

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import RandomSampler

from distill.student.sampler import SimilarLengths

DRAW = random.Random(0)
LENGTHS = [DRAW.randrange(5, 200) for _ in range(1000)]


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(batches) -> int:
    return sum(len(batch) * max(LENGTHS[text] for text in batch) for batch in batches)


def test_every_text_is_in_one_batch_and_only_the_last_made_is_smaller():
    sampler = SimilarLengths(LENGTHS, 16, False, generator())
    batches = list(sampler)
    assert sorted(text for batch in batches for text in batch) == list(range(1000))
    assert len(batches) == len(sampler) == 63
    assert sorted(map(len, batches))[:2] == [1000 % 16, 16]


def test_a_smaller_batch_can_be_dropped():
    sampler = SimilarLengths(LENGTHS, 16, True, generator())
    assert {len(batch) for batch in sampler} == {16}
    assert len(list(sampler)) == len(sampler) == 62


def test_padding_is_less_than_at_random():
    shuffled = DefaultBatchSampler(RandomSampler(LENGTHS, generator=generator()), 16, False)
    ours = padded(SimilarLengths(LENGTHS, 16, False, generator()))
    assert ours < 1.2 * sum(LENGTHS) < padded(shuffled)


def test_lengths_come_in_no_order_and_the_generator_decides():
    batches = list(SimilarLengths(LENGTHS, 16, False, generator()))
    longest = [LENGTHS[batch[0]] for batch in batches]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))
    assert list(SimilarLengths(LENGTHS, 16, False, generator())) == batches
    assert list(SimilarLengths(LENGTHS, 16, False, generator(2))) != batches
