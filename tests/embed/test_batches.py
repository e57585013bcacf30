"""Batches within a budget of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from distill.embed.batches import batch_by_length


@given(st.lists(st.integers(1, 50)), st.integers(1, 120))
def test_batches_hold_every_text_once_within_the_budget(lengths, tokens):
    found = list(batch_by_length(lengths, tokens))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= tokens or len(batch) == 1
    longest_first = [lengths[i] for batch in found for i in batch]
    assert longest_first == sorted(lengths, reverse=True)
