"""Log-probabilities of continuations in vLLM, with the prefix cache read.

By default vLLM computes a prompt whole whose log-probabilities are asked for. Two ways do without:

- `ROWS` asks for the continuation's tokens alone (`prompt_logprob_token_ids`; V2 model runner),
- `TAIL` asks for the whole prompt's but lets it read the prefix cache: what stands there is left
  out, or garbage, and only the rows behind it are read.

A token right behind a cached block has no row, for the block's last token, which predicts it, is
not computed again. Where a sibling with the same beginning does not know it either, it is asked as
what a one-token continuation would be. `WHOLE`, vLLM's default, judges the other two in a probe.
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
"""What vLLM raises for a request that it does not take."""

ScoringJob = tuple[list[int], list[list[int]]]
"""A prefix and its continuations."""
KnownLogprobs = dict[tuple[int, ...], float]
"""The tokens behind a prefix up to one of them -> the natural log-probability of that one."""

_PAIRS_PER_CALL = 512
"""Prompts asked at once: their outputs hold a number for each token of the prompt."""
_MAX_TOKEN_IDS = 128
"""What `logprob_token_ids` takes."""
_TOLERANCE = {"float32": 1e-2, "bfloat16": 0.5, "float16": 0.2}
_ONE_TOKEN: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "detokenize": False}


ScoredContinuation = tuple[list[float], int, str]
"""The continuations' summed log-probabilities, the prompt tokens that the cache had, and the way
that was gone."""


class JobContinuation(NamedTuple):
    """A continuation of a job, and how many of its first tokens an earlier pair of the job has."""

    job: int
    prefix: list[int]
    continuation: list[int]
    begun: int


@dataclass(frozen=True)
class ScoringMethod:
    """`params(pair, block)` asks; `read(output, pair, block)` gives (place within the continuation,
    log-probability) for the places that have one."""

    name: str
    params: Callable[[JobContinuation, int], SamplingParams]
    read: Callable[[RequestOutput, JobContinuation, int], list[tuple[int, float]]]


class VLLMScorer:
    """Scores jobs by the cheapest way that agrees with vLLM's default on a probe."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        config = llm.llm_engine.vllm_config
        self._block: int = config.cache_config.block_size
        self._tolerance = _TOLERANCE[str(config.model_config.dtype).removeprefix("torch.")]
        self.way = self._cheapest()

    def score(self, jobs: Sequence[ScoringJob]) -> list[ScoredContinuation]:
        """One result a job. Jobs with a common beginning should be neighbours."""
        known, shared = self._ask(jobs, self.way)
        self._fill(jobs, known)
        sums = [
            [sum(found[tuple(c[: n + 1])] for n in range(len(c))) for c in several]
            for (_, several), found in zip(jobs, known, strict=True)
        ]
        return [(s, n, self.way.name) for s, n in zip(sums, shared, strict=True)]

    def _ask(
        self, jobs: Sequence[ScoringJob], way: ScoringMethod
    ) -> tuple[list[KnownLogprobs], list[int]]:
        """What one prompt a pair lets know, for each job, and the tokens that the cache had."""
        known: list[KnownLogprobs] = [{} for _ in jobs]
        shared = [0] * len(jobs)
        for pairs in _batches(_iterate_pairs(jobs), _PAIRS_PER_CALL):
            outputs = self._generate(
                [pair.prefix + pair.continuation for pair in pairs],
                [way.params(pair, self._block) for pair in pairs],
            )
            for pair, output in zip(pairs, outputs, strict=True):
                shared[pair.job] += output.num_cached_tokens or 0
                for place, logprob in way.read(output, pair, self._block):
                    known[pair.job][tuple(pair.continuation[: place + 1])] = logprob
        return known, shared

    def _fill(self, jobs: Sequence[ScoringJob], known: list[KnownLogprobs]) -> None:
        """Ask for what is not known yet as what one more token would be, all that may follow the
        same text at once."""
        missing: dict[tuple[int, tuple[int, ...]], set[int]] = {}
        for job, (_, several) in enumerate(jobs):
            for continuation in several:
                for n, token in enumerate(continuation):
                    if tuple(continuation[: n + 1]) not in known[job]:
                        missing.setdefault((job, tuple(continuation[:n])), set()).add(token)
        asked = [
            (job, text, tokens)
            for (job, text), several in missing.items()
            for tokens in _batches(iter(sorted(several)), _MAX_TOKEN_IDS)
        ]
        for some in _batches(iter(asked), _PAIRS_PER_CALL):
            outputs = self._generate(
                [[*jobs[job][0], *text] for job, text, _ in some],
                [SamplingParams(**_ONE_TOKEN, logprob_token_ids=tokens) for _, _, tokens in some],
            )
            for (job, text, tokens), output in zip(some, outputs, strict=True):
                found = output.outputs[0].logprobs
                assert found is not None, "asked for, so given"
                for token in tokens:
                    known[job][(*text, token)] = found[0][token].logprob

    def _generate(
        self, prompts: Sequence[list[int]], params: Sequence[SamplingParams]
    ) -> list[RequestOutput]:
        given = [TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        return self._llm.generate(given, params, use_tqdm=False)

    # --- the probe ----------------------------------------------------------------------------

    def _cheapest(self) -> ScoringMethod:
        jobs = self._probe_jobs()
        expected = self._try(jobs, WHOLE)
        for way in (ROWS, TAIL):
            try:
                cold, warm = self._try(jobs, way), self._try(jobs, way)
            except REFUSALS:  # this version or model runner does not have it
                continue
            if np.allclose([cold, warm], expected, rtol=0, atol=self._tolerance):
                return way
        return WHOLE

    def _try(self, jobs: Sequence[ScoringJob], way: ScoringMethod) -> list[float]:
        known, _ = self._ask(jobs, way)
        self._fill(jobs, known)
        return [
            sum(found[tuple(c[: n + 1])] for n in range(len(c)))
            for (_, several), found in zip(jobs, known, strict=True)
            for c in several
        ]

    def _probe_jobs(self) -> list[ScoringJob]:
        """Prefixes that end with a block of the cache and within one, and continuations that begin
        alike."""
        tokenizer = self._llm.get_tokenizer()
        text = "The river rose in the night, and nobody had ever seen it so high before. "
        several = [
            tokenizer.encode(ending, add_special_tokens=False)
            for ending in (" It flooded the field.", " It flooded the town and the road.", " Then")
        ]
        room = self._llm.llm_engine.model_config.max_model_len - max(map(len, several)) - 1
        ids = tokenizer.encode(text * (1 + 3 * self._block // 8))[: max(1, room)]
        return [(ids[: 2 * self._block], several), (ids[: 2 * self._block + 5], several)]


# --- the three ways -------------------------------------------------------------------------------


def _find_first_row(pair: JobContinuation, block: int) -> int:
    """The first place within the continuation whose row is surely computed, if the cache has no
    more of the prompt than the prefix and what earlier pairs of the job have."""
    begun = len(pair.prefix) + pair.begun
    return max(pair.begun, begun // block * block - len(pair.prefix) + 1)


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
    """The last rows are the continuation's; those of cached places are not read."""
    given = output.prompt_logprobs
    assert isinstance(given, FlatLogprobs), "asked for, so given"
    first = max(0, (output.num_cached_tokens or 0) - len(pair.prefix) + 1)
    own = pair.continuation[first:]
    if not own or given.token_ids[-len(own) :] != own:  # not computed, for a reason unforeseen
        return []
    return list(enumerate(given.logprobs[-len(own) :], start=first))


ROWS = ScoringMethod(
    "prompt_logprob_token_ids behind the cached prefix", _make_rows_params, _read_rows
)
TAIL = ScoringMethod("prompt_logprobs behind the cached prefix", _make_tail_params, _read_tail)
WHOLE = ScoringMethod(
    "prompt_logprobs of whole prompts, without the prefix cache", _make_whole_params, _read_tail
)


def _iterate_pairs(jobs: Sequence[ScoringJob]) -> Iterator[JobContinuation]:
    """Continuations that begin alike are neighbours."""
    for job, (prefix, several) in enumerate(jobs):
        before: list[int] = []
        for continuation in map(list, sorted(set(map(tuple, several)))):
            yield JobContinuation(
                job, prefix, continuation, _count_common_tokens(before, continuation)
            )
            before = continuation


def _count_common_tokens(one: list[int], other: list[int]) -> int:
    """How many tokens both begin with."""
    both = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(both) if a != b), min(len(one), len(other)))


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
