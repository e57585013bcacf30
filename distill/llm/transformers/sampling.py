"""Sampling that depends on a prompt's own seed alone, not on the batch it is in; and stop strings.

The n-th token of a prompt follows from its n-th uniform number by the inverse of the cumulative
distribution.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from distill.llm.protocol import Sampling
from distill.llm.thoughts import cut_at_stop

_CANDIDATE_COUNTS = (64, 1024)
"""Numbers of tokens that nucleus sampling considers: the second only where the first does not reach
top_p; the tokens beyond have a negligible share."""


def draw_uniform_numbers(seed: int, sampling: Sampling) -> list[float]:
    """Draw one number for each token that a prompt of this seed may get."""
    numbers: list[float] = np.random.default_rng(seed).random(sampling.max_new_tokens).tolist()
    return numbers


def choose_tokens(
    logits: torch.Tensor, uniform: Sequence[float], sampling: Sampling
) -> torch.Tensor:
    """Choose the next token of each row.

    Args:
        logits: (rows, vocabulary).
        uniform: a number from [0, 1) for each row.

    Returns:
        Token ids, (rows,).
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=1)
    scaled = logits.float() / sampling.temperature
    log_total = scaled.logsumexp(dim=1, keepdim=True)
    for likeliest in _CANDIDATE_COUNTS:
        top, ids = _select_likeliest(scaled, likeliest)
        share = (top - log_total).exp()
        before = share.cumsum(dim=1) - share
        if bool((before[:, -1] >= sampling.top_p).all()):
            break
    share = share.masked_fill(before >= sampling.top_p, 0.0)
    cumulative = share.cumsum(dim=1)
    target = torch.tensor(uniform, device=logits.device)[:, None] * cumulative[:, -1:]
    last = (share > 0).sum(dim=1, keepdim=True) - 1
    place = torch.minimum((cumulative <= target).sum(dim=1, keepdim=True), last)
    return ids.gather(1, place)[:, 0]


def _select_likeliest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the logits and ids of the likeliest tokens, in descending order. Equal ones, of which
    bfloat16 has many, are in the order of their ids, so that the order does not depend on
    `count`."""
    top = logits.topk(min(count, logits.shape[1]), dim=1, sorted=False)
    ids = top.indices.sort(dim=1).values
    values, order = logits.gather(1, ids).sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, order)


class StopStrings:
    """Searches for stop strings in the last tokens of a text that grows by a token at a time."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer: Any = tokenizer
        self._stop = stop
        # A token is at least a byte, so a string that the newest token completes begins here.
        self._tail = max((len(s.encode()) for s in stop), default=0)

    def is_complete(self, tokens: Sequence[int]) -> bool:
        """Return whether the newest token completed a stop string, outside the thoughts of a model
        that thinks."""
        if not self._stop:
            return False
        tail = self._tokenizer.decode(tokens[-self._tail :], skip_special_tokens=True)
        if not any(s in tail for s in self._stop):
            return False
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return len(cut_at_stop(text, self._stop)) < len(text)
