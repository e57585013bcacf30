"""Log-probabilities of continuations in vLLM, with use of the prefix cache.

By default vLLM computes the whole of a prompt whose log-probabilities are requested. Two methods
avoid that:

- `ROWS` requests the continuation's tokens alone (`prompt_logprob_token_ids`; V2 model runner),
- `TAIL` requests those of the whole prompt but lets vLLM read the prefix cache: the cached part is
  left out, or garbage, and only the rows after it are read.

A token right after a cached block has no row, because the block's last token, which predicts it, is
not computed again. Where no sibling with the same beginning provides it either, it is requested as
a one-token continuation. `WHOLE`, vLLM's default, is what a probe compares the other two with.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from vllm import LLM, RequestOutput, SamplingParams, TokensPrompt
from vllm.exceptions import VLLMValidationError
from vllm.logprobs import FlatLogprobs

REFUSALS = (VLLMValidationError, ValueError, TypeError)
"""What vLLM raises for a request that it does not accept."""

ScoringJob = tuple[list[int], list[list[int]]]
"""A prefix and its continuations."""
KnownLogprobs = dict[tuple[int, ...], float]
"""The tokens behind a prefix up to one of them -> the natural log-probability of that one."""

_PAIRS_PER_CALL = 512
"""Prompts per call: their outputs have a number for each token of the prompt."""
_MAX_TOKEN_IDS = 128
"""The most that `logprob_token_ids` takes."""
_TOLERANCE = {"float32": 1e-2, "bfloat16": 0.5, "float16": 0.2}
_ONE_TOKEN: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}


ScoredContinuation = tuple[list[float], int, str]
"""The continuations' summed log-probabilities, the prompt tokens that the cache had, and the name
of the method."""


class JobContinuation(NamedTuple):
    """A continuation of a job; `shared` of its first tokens are in an earlier pair of the job."""

    job: int
    prefix: list[int]
    continuation: list[int]
    shared: int


@dataclass(frozen=True)
class ScoringMethod:
    """A method to get log-probabilities: `params(pair, block)` makes the request; `read(output,
    pair, block)` returns (place within the continuation, log-probability) for the places that have
    one."""

    name: str
    params: Callable[[JobContinuation, int], SamplingParams]
    read: Callable[[RequestOutput, JobContinuation, int], list[tuple[int, float]]]


class VLLMScorer:
    """Scores jobs by the cheapest method that agrees with vLLM's default on a probe."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        config = llm.llm_engine.vllm_config
        self._block: int = config.cache_config.block_size
        self._tolerance = _TOLERANCE[str(config.model_config.dtype).removeprefix("torch.")]
        self.method = self._choose_method()

    def score(self, jobs: Sequence[ScoringJob]) -> list[ScoredContinuation]:
        """Score each job. Jobs with a common beginning should be neighbours."""
        known, shared = self._request(jobs, self.method)
        self._request_missing(jobs, known)
        sums = [
            [sum(logprobs[tuple(c[: n + 1])] for n in range(len(c))) for c in continuations]
            for (_, continuations), logprobs in zip(jobs, known, strict=True)
        ]
        return [(s, n, self.method.name) for s, n in zip(sums, shared, strict=True)]

    def _request(
        self, jobs: Sequence[ScoringJob], method: ScoringMethod
    ) -> tuple[list[KnownLogprobs], list[int]]:
        """Request one prompt per pair; return the log-probabilities of each job that this gives,
        and the number of tokens that the cache had."""
        known: list[KnownLogprobs] = [{} for _ in jobs]
        shared = [0] * len(jobs)
        for pairs in _split_batches(_iterate_pairs(jobs), _PAIRS_PER_CALL):
            outputs = self._generate(
                [pair.prefix + pair.continuation for pair in pairs],
                [method.params(pair, self._block) for pair in pairs],
            )
            for pair, output in zip(pairs, outputs, strict=True):
                shared[pair.job] += output.num_cached_tokens or 0
                for place, logprob in method.read(output, pair, self._block):
                    known[pair.job][tuple(pair.continuation[: place + 1])] = logprob
        return known, shared

    def _request_missing(self, jobs: Sequence[ScoringJob], known: list[KnownLogprobs]) -> None:
        """Request each missing log-probability as that of one more token, for all tokens that may
        follow the same text at once."""
        missing: dict[tuple[int, tuple[int, ...]], set[int]] = {}
        for job, (_, continuations) in enumerate(jobs):
            for continuation in continuations:
                for n, token in enumerate(continuation):
                    if tuple(continuation[: n + 1]) not in known[job]:
                        missing.setdefault((job, tuple(continuation[:n])), set()).add(token)
        requests = [
            (job, text, tokens)
            for (job, text), next_tokens in missing.items()
            for tokens in _split_batches(iter(sorted(next_tokens)), _MAX_TOKEN_IDS)
        ]
        for some in _split_batches(iter(requests), _PAIRS_PER_CALL):
            outputs = self._generate(
                [[*jobs[job][0], *text] for job, text, _ in some],
                [SamplingParams(**_ONE_TOKEN, logprob_token_ids=tokens) for _, _, tokens in some],
            )
            for (job, text, tokens), output in zip(some, outputs, strict=True):
                logprobs = output.outputs[0].logprobs
                assert logprobs is not None, "they were requested"
                for token in tokens:
                    known[job][(*text, token)] = logprobs[0][token].logprob

    def _generate(
        self, prompts: Sequence[list[int]], params: Sequence[SamplingParams]
    ) -> list[RequestOutput]:
        inputs = [TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        return self._llm.generate(inputs, params, use_tqdm=False)

    # --- the probe ----------------------------------------------------------------------------

    def _choose_method(self) -> ScoringMethod:
        jobs = self._make_probe_jobs()
        expected = self._score_probe(jobs, WHOLE)
        for method in (ROWS, TAIL):
            try:
                cold, warm = self._score_probe(jobs, method), self._score_probe(jobs, method)
            except REFUSALS:  # this version or model runner does not have it
                continue
            if np.allclose([cold, warm], expected, rtol=0, atol=self._tolerance):
                return method
        return WHOLE

    def _score_probe(self, jobs: Sequence[ScoringJob], method: ScoringMethod) -> list[float]:
        known, _ = self._request(jobs, method)
        self._request_missing(jobs, known)
        return [
            sum(logprobs[tuple(c[: n + 1])] for n in range(len(c)))
            for (_, continuations), logprobs in zip(jobs, known, strict=True)
            for c in continuations
        ]

    def _make_probe_jobs(self) -> list[ScoringJob]:
        """Make prefixes that end with a block of the cache and within one, and continuations that
        begin alike."""
        tokenizer = self._llm.get_tokenizer()
        text = "The river rose in the night, and nobody had ever seen it so high before. "
        continuations = [
            tokenizer.encode(ending, add_special_tokens=False)
            for ending in (" It flooded the field.", " It flooded the town and the road.", " Then")
        ]
        room = self._llm.llm_engine.model_config.max_model_len - max(map(len, continuations)) - 1
        ids = tokenizer.encode(text * (1 + 3 * self._block // 8))[: max(1, room)]
        return [
            (ids[: 2 * self._block], continuations),
            (ids[: 2 * self._block + 5], continuations),
        ]


# --- the three methods ----------------------------------------------------------------------------


def _find_first_row(pair: JobContinuation, block: int) -> int:
    """Find the first place within the continuation whose row is certainly computed, if the cache
    has no more of the prompt than the prefix and the tokens of earlier pairs of the job."""
    start = len(pair.prefix) + pair.shared
    return max(pair.shared, start // block * block - len(pair.prefix) + 1)


def _make_rows_params(pair: JobContinuation, block: int) -> SamplingParams:
    first = _find_first_row(pair, block)
    if first >= len(pair.continuation):
        return SamplingParams(**_ONE_TOKEN)
    return SamplingParams(
        **_ONE_TOKEN,
        prompt_logprob_token_ids=np.array(pair.continuation[first:])[:, None],
        prompt_logprob_start=len(pair.prefix) - 1 + first,
        skip_reading_prefix_cache=False,
    )


def _read_rows(output: RequestOutput, pair: JobContinuation, block: int) -> list[tuple[int, float]]:
    rows = output.prompt_token_id_logprobs
    if rows is None:  # the cache had more: no row was computed
        return []
    return list(enumerate(rows[:, 0].tolist(), start=_find_first_row(pair, block)))


def _make_tail_params(pair: JobContinuation, block: int) -> SamplingParams:
    return SamplingParams(
        **_ONE_TOKEN, prompt_logprobs=0, flat_logprobs=True, skip_reading_prefix_cache=False
    )


def _make_whole_params(pair: JobContinuation, block: int) -> SamplingParams:
    return SamplingParams(
        **_ONE_TOKEN, prompt_logprobs=0, flat_logprobs=True, skip_reading_prefix_cache=True
    )


def _read_tail(output: RequestOutput, pair: JobContinuation, block: int) -> list[tuple[int, float]]:
    """Read the last rows, which are the continuation's; those of cached places are not read."""
    logprobs = output.prompt_logprobs
    assert isinstance(logprobs, FlatLogprobs), "they were requested"
    first = max(0, (output.num_cached_tokens or 0) - len(pair.prefix) + 1)
    rest = pair.continuation[first:]
    if not rest or logprobs.token_ids[-len(rest) :] != rest:  # not computed, for an unknown reason
        return []
    return list(enumerate(logprobs.logprobs[-len(rest) :], start=first))


ROWS = ScoringMethod(
    "prompt_logprob_token_ids behind the cached prefix", _make_rows_params, _read_rows
)
TAIL = ScoringMethod("prompt_logprobs behind the cached prefix", _make_tail_params, _read_tail)
WHOLE = ScoringMethod(
    "prompt_logprobs of whole prompts, without the prefix cache", _make_whole_params, _read_tail
)


def _iterate_pairs(jobs: Sequence[ScoringJob]) -> Iterator[JobContinuation]:
    """Iterate over the pairs of all jobs; continuations that begin alike are neighbours."""
    for job, (prefix, continuations) in enumerate(jobs):
        before: list[int] = []
        for continuation in map(list, sorted(set(map(tuple, continuations)))):
            yield JobContinuation(
                job, prefix, continuation, _count_common_tokens(before, continuation)
            )
            before = continuation


def _count_common_tokens(one: list[int], other: list[int]) -> int:
    """Count the tokens that both begin with."""
    both = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(both) if a != b), min(len(one), len(other)))


def _split_batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
