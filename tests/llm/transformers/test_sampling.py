"""A token from logits and a uniform number."""

import pytest
import torch

from distill.llm import Sampling
from distill.llm.thoughts import cut_at_stop
from distill.llm.transformers.sampling import choose_tokens, draw_uniform_numbers

EVENLY = [(n + 0.5) / 2000 for n in range(2000)]


def shares(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """How often each token is chosen over the whole range of uniform numbers."""
    rows = logits.expand(len(EVENLY), -1)
    chosen = choose_tokens(rows, EVENLY, sampling)
    return torch.bincount(chosen, minlength=len(logits)) / len(EVENLY)


def test_sampling_draws_tokens_with_their_probability():
    logits = torch.randn(200, generator=torch.manual_seed(0)) * 2
    drawn = shares(logits, Sampling(1, temperature=0.7))
    torch.testing.assert_close(drawn, (logits / 0.7).softmax(0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_nucleus_alone_is_drawn_from(spread):
    """With a flat distribution the nucleus is wider than what is looked at first."""
    logits = torch.randn(500, generator=torch.manual_seed(0)) * spread
    drawn = shares(logits, Sampling(1, temperature=1.0, top_p=0.8))
    ordered, order = logits.softmax(0).sort(descending=True)
    nucleus = order[ordered.cumsum(0) - ordered < 0.8]
    expected = torch.zeros(500)
    expected[nucleus] = logits.softmax(0)[nucleus] / logits.softmax(0)[nucleus].sum()
    torch.testing.assert_close(drawn, expected, atol=1.1e-3, rtol=0)


def test_row_does_not_depend_on_its_neighbours():
    peaked, flat = torch.zeros(3000), torch.zeros(3000)
    peaked[7:17] = 12.0
    sampling = Sampling(1, temperature=1.0, top_p=0.9)
    for number in (0.0, 0.31, 0.999999):
        [alone] = choose_tokens(peaked[None], [number], sampling).tolist()
        beside = choose_tokens(torch.stack([flat, peaked]), [0.5, number], sampling).tolist()[1]
        assert alone == beside


def test_temperature_zero_takes_the_likeliest():
    assert choose_tokens(torch.tensor([[0.0, 2.0, 1.0]]), [0.99], Sampling(1)).tolist() == [1]


def test_sampling_never_draws_a_token_that_is_ruled_out():
    logits = torch.full((1, 100), -torch.inf)
    logits[0, 42] = -3.0
    for number in (0.0, 0.999999):
        assert choose_tokens(logits, [number], Sampling(1, temperature=0.5)).tolist() == [42]


def test_uniform_numbers_are_those_of_the_seed():
    sampling = Sampling(8)
    assert draw_uniform_numbers(2**63, sampling) == draw_uniform_numbers(2**63, sampling)
    assert draw_uniform_numbers(1, sampling) != draw_uniform_numbers(2, sampling)


def test_text_is_cut_at_the_earliest_stop_string():
    assert cut_at_stop("a\nb. c", (". ", "\n")) == "a"
    assert cut_at_stop("abc", ("x",)) == "abc"
