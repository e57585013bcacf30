"""Sampling that depends on a prompt's own seed alone, not on the batch that it happens to be in:
the step-th token of a prompt is read off its step-th uniform number by the inverse of the
cumulative distribution. And stop strings, checked on each row's own tail."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria

from distill.llm.protocol import Sampling

_LIKELIEST = 1024
"""Tokens that nucleus sampling looks at; what lies beyond has a negligible share of top_p."""
_TAIL = 12
"""New tokens that may hold a stop string."""


class SeededSampling(LogitsProcessor):
    """Leaves one token a row: the one that temperature, top_p and the row's seed choose."""

    def __init__(self, seeds: Sequence[int], prompt_length: int, sampling: Sampling) -> None:
        draws = [np.random.default_rng(s).random(sampling.max_new_tokens) for s in seeds]
        self._uniform = torch.from_numpy(np.stack(draws)).float()
        self._prompt_length = prompt_length
        self._sampling = sampling

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids` (rows, tokens so far), `scores` (rows, vocabulary) -> same shape."""
        step = input_ids.shape[1] - self._prompt_length
        top = scores.float().topk(min(_LIKELIEST, scores.shape[1]), dim=1)
        share = (top.values / self._sampling.temperature).softmax(dim=1)
        before = share.cumsum(dim=1) - share
        share = share.masked_fill(before >= self._sampling.top_p, 0.0)
        target = self._uniform[:, step, None].to(scores.device) * share.sum(dim=1, keepdim=True)
        place = (share.cumsum(dim=1) <= target).sum(dim=1, keepdim=True)
        last = (share > 0).sum(dim=1, keepdim=True) - 1
        chosen = top.indices.gather(1, torch.minimum(place, last))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)


class StopStrings(StoppingCriteria):
    """A row is done when the tail of its new text holds one of the stop strings."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt_length: int, stop: Sequence[str]
    ) -> None:
        self._tokenizer = tokenizer
        self._prompt_length = prompt_length
        self._stop = stop

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        new = input_ids[:, self._prompt_length :][:, -_TAIL:]
        tails = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        done = [any(s in tail for s in self._stop) for tail in tails]
        return torch.tensor(done, device=input_ids.device)


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the earliest stop string."""
    ends = [at for at in (text.find(s) for s in stop) if at >= 0]
    return text[: min(ends)] if ends else text
