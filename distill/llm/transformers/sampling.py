"""Sampling that depends on a prompt's own seed alone, not on the batch that it happens to be in:
the step-th token of a prompt is read off its step-th uniform number by the inverse of the
cumulative distribution. And stop strings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from distill.llm.protocol import Sampling
from distill.llm.thoughts import cut_at_stop

_CANDIDATE_COUNTS = (64, 1024)
"""Tokens that nucleus sampling looks at: the second number only where the first does not make up
top_p; what lies beyond that has a negligible share."""


def draw_uniform_numbers(seed: int, sampling: Sampling) -> list[float]:
    """One for each token that a prompt of this seed may get."""
    drawn: list[float] = np.random.default_rng(seed).random(sampling.max_new_tokens).tolist()
    return drawn


def choose_tokens(
    logits: torch.Tensor, uniform: Sequence[float], sampling: Sampling
) -> torch.Tensor:
    """The next token of each row, (rows,): `logits` (rows, vocabulary), `uniform` a number from
    [0, 1) for each row."""
    if sampling.temperature == 0:
        return logits.argmax(dim=1)
    scaled = logits.float() / sampling.temperature
    whole = scaled.logsumexp(dim=1, keepdim=True)
    for likeliest in _CANDIDATE_COUNTS:
        top, ids = _select_likeliest(scaled, likeliest)
        share = (top - whole).exp()
        before = share.cumsum(dim=1) - share
        if bool((before[:, -1] >= sampling.top_p).all()):
            break
    share = share.masked_fill(before >= sampling.top_p, 0.0)
    upto = share.cumsum(dim=1)
    target = torch.tensor(uniform, device=logits.device)[:, None] * upto[:, -1:]
    last = (share > 0).sum(dim=1, keepdim=True) - 1
    place = torch.minimum((upto <= target).sum(dim=1, keepdim=True), last)
    return ids.gather(1, place)[:, 0]


def _select_likeliest(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and ids of the likeliest tokens, falling; equal ones, which bfloat16 has many of, in
    the order of their ids, so that it does not depend on `count`."""
    top = logits.topk(min(count, logits.shape[1]), dim=1, sorted=False)
    ids = top.indices.sort(dim=1).values
    values, order = logits.gather(1, ids).sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, order)


class StopStrings:
    """Looks for stop strings in the last tokens of a text that grows by a token at a time."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> None:
        self._tokenizer: Any = tokenizer
        self._stop = stop
        # A token is at least a byte, so a string that the newest token completes begins here.
        self._tail = max((len(s.encode()) for s in stop), default=0)

    def end(self, tokens: Sequence[int]) -> bool:
        """Whether the newest token completed one of them, behind the thoughts of a model that
        thinks."""
        if not self._stop:
            return False
        tail = self._tokenizer.decode(tokens[-self._tail :], skip_special_tokens=True)
        if not any(s in tail for s in self._stop):
            return False
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return len(cut_at_stop(text, self._stop)) < len(text)
