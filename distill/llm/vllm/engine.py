"""The vLLM engine, offline: prompts are tokenized here, and copies of the model, each in a process
of its own (see `process`), continue or score them."""

import importlib.util
import logging
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from distill.errors import EngineFailure, UserError, install_command
from distill.llm.protocol import Completion, Sampling, Score, ScoreRequest
from distill.llm.score_tokens import ScoreTokens, score_fitting, tokenize_request
from distill.llm.thoughts import cut_at_stop, is_cut_in_thoughts
from distill.llm.tokenization import PromptTokenizer
from distill.llm.vllm.process import ModelProcess, list_visible_gpus, stop_all
from distill.models.causal_lm import make_model_folder
from distill.models.loading import load_tokenizer
from distill.recipe import LanguageModel
from distill.runtime.devices import choose_device, get_torch_dtype

_CPU_CACHE_BYTES = 2 << 30
"""Memory for keys and values on a CPU; the variable VLLM_CPU_KVCACHE_SPACE (GiB) overrides it."""
_CPU_BLOCK = 32
"""Tokens in a block of the prefix cache: the fewest that vLLM's CPU kernels take well. With vLLM's
default of 128, up to 127 tokens of a prefix are computed again for each of its continuations."""

_log = logging.getLogger(__name__)


class VLLMEngine:
    """An `LLM` (see protocol) computed by `vllm.LLM`, with prefix caching.

    Prompts are sent in the order of their tokens, so that equal beginnings are adjacent. A prompt's
    seed decides its random numbers; but rounding differs with the batch and may decide a near tie
    otherwise (VLLM_BATCH_INVARIANT=1 prevents it, on the GPUs where vLLM supports that).

    Raises:
        UserError: if vLLM is not installed, the model is not available, vLLM cannot load it, or
            there are fewer GPUs than `tensor_parallel` times `data_parallel`.
    """

    can_score = True
    can_compare_verdicts = True
    supports_regex = True
    supports_schema = True

    def __init__(self, settings: LanguageModel) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise UserError(
                "llm.engine vllm",
                "vLLM is not installed in this environment",
                f"{install_command('gpu')}; for a CPU, `make env-vllm` makes an environment of "
                "its own; or set llm.engine to transformers",
            )
        self.name = settings.model
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        gpus = _assign_gpus(settings)
        folder = make_model_folder(settings.model, _choose_dtype(settings))
        self.prompt_tokenizer = PromptTokenizer(load_tokenizer(folder), self.name)
        self.has_chat = self.prompt_tokenizer.has_chat
        options = _make_vllm_options(settings, str(folder))
        self._copies = [ModelProcess(self.name, options, share) for share in gpus]
        self._stop = weakref.finalize(self, stop_all, self._copies)
        self._max_tokens: int = min(copy.receive() for copy in self._copies)
        self._scoring_method = ""

    # --- generation ---------------------------------------------------------------------------

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> list[Completion]:
        """Generate texts; see the protocol. A prompt that is too long for the model comes back with
        a `fault`."""
        tokenizer = self.prompt_tokenizer
        ids = [
            tokenizer.tokenize_chat(p) if sampling.chat else tokenizer.tokenize(p, add_bos=True)
            for p in prompts
        ]
        completions = [
            Completion(
                "", False, f"the prompt has {len(row)} tokens, the model takes {self._max_tokens}"
            )
            for row in ids
        ]
        fitting = [i for i in range(len(ids)) if len(ids[i]) < self._max_tokens]
        self._generate(fitting, ids, seeds, sampling, completions)
        cut = [i for i in fitting if is_cut_in_thoughts(*completions[i][:2], sampling.stop)]
        # vLLM's stop strings ended these within their thoughts: here they are applied after them.
        if cut:
            self._generate(cut, ids, seeds, replace(sampling, stop=()), completions)
        for i in cut:
            whole = completions[i]
            text = cut_at_stop(whole.text, sampling.stop)
            completions[i] = Completion(text, whole.finished or text != whole.text)
        return completions

    def _generate(
        self,
        numbers: Sequence[int],
        ids: Sequence[list[int]],
        seeds: Sequence[int],
        sampling: Sampling,
        completions: list[Completion],
    ) -> None:
        """Fill in the completions of the prompts of these numbers, sent in the order of their
        tokens."""
        order = sorted(numbers, key=lambda i: ids[i])
        jobs = [(ids[i], seeds[i]) for i in order]
        results = self._run("generate", jobs, [len(ids[i]) for i in order], sampling)
        for i, (text, finished, shared, new) in zip(order, results, strict=True):
            completions[i] = Completion(text, finished)
            self._count_tokens(prompt=len(ids[i]), shared=shared, new=new)

    # --- scoring ------------------------------------------------------------------------------

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Score]]:
        """Score continuations by their log-probabilities; see `LogprobScorer.score`. One that is
        too long for the model, with its prefix and ending, has a score with a fault.

        Raises:
            UserError: if a prefix, continuation or ending is empty.
        """
        tokens = [self._tokenize_request(request) for request in requests]
        most = self._max_tokens - 1  # vLLM writes a token behind what it scores
        return score_fitting(tokens, most, self._score_tokens)

    def _score_tokens(self, tokens: Sequence[ScoreTokens]) -> list[list[Score]]:
        jobs = [_make_scoring_job(one) for one in tokens]
        order = sorted(range(len(jobs)), key=lambda i: jobs[i])
        weights = [len(prefix) + sum(map(len, continuations)) for prefix, continuations in jobs]
        results = self._run("score", [jobs[i] for i in order], [weights[i] for i in order])
        scores: list[list[Score]] = [[] for _ in jobs]
        for i, (sums, shared, method) in zip(order, results, strict=True):
            prefix, continuations = jobs[i]
            scores[i] = _make_scores(sums, continuations, len(tokens[i].endings))
            prompt = len(prefix) * len(continuations) + sum(map(len, continuations))
            self._count_tokens(prompt=prompt, shared=shared)
            self._log_scoring_method(method)
        return scores

    def _tokenize_request(self, request: ScoreRequest) -> ScoreTokens:
        tokens = tokenize_request(self.prompt_tokenizer, request)
        if not tokens.prefix:
            raise UserError("a prompt", "is empty", "fix the prompt file")
        return tokens

    def _log_scoring_method(self, method: str) -> None:
        """Log once by which method vLLM scores: its versions and devices differ in that."""
        if method != self._scoring_method:
            _log.info("vLLM scores %s by %s", self.name, method)
            self._scoring_method = method

    # --- processes ---------------------------------------------------------------------------

    def close(self) -> None:
        """End the processes, which gives their GPUs' memory back."""
        self._stop()

    def _run(
        self, method: str, jobs: Sequence[Any], weights: Sequence[int], *arguments: Any
    ) -> list[Any]:
        """Compute one result for each job, in order; neighbours go to the same copy of the
        model."""
        shares = list(
            zip(self._copies, _split_evenly(jobs, weights, len(self._copies)), strict=True)
        )
        busy = [(copy, share) for copy, share in shares if share]
        for copy, share in busy:
            copy.send(method, share, *arguments)
        faults: list[UserError | EngineFailure] = []
        results: list[Any] = []
        for copy, _ in busy:  # every copy replies before any fault is raised
            try:
                results += copy.receive()
            except (UserError, EngineFailure) as fault:
                faults.append(fault)
        if faults:
            raise faults[0]
        return results

    def _count_tokens(self, **tokens: int) -> None:
        for key, number in tokens.items():
            self.tokens[key] += number


def _make_scoring_job(tokens: ScoreTokens) -> tuple[list[int], list[list[int]]]:
    """Make a job of the prefix, and each continuation alone and then with each ending. The
    repetition costs little, because of the prefix cache and of siblings that begin alike."""
    endings = ([], *tokens.endings)
    return tokens.prefix, [ids + ending for ids in tokens.continuations for ending in endings]


def _make_scores(
    sums: Sequence[float], continuations: Sequence[list[int]], endings: int
) -> list[Score]:
    """Make one score for each continuation of the sums of a job (see `_make_scoring_job`)."""
    each = 1 + endings
    return [
        Score(
            sums[start],
            len(continuations[start]),
            tuple(with_ending - sums[start] for with_ending in sums[start + 1 : start + each]),
        )
        for start in range(0, len(sums), each)
    ]


def _split_evenly(jobs: Sequence[Any], weights: Sequence[int], count: int) -> list[list[Any]]:
    """Split jobs into `count` runs of neighbours of about equal weight; some are empty where jobs
    are few."""
    shares: list[list[Any]] = [[] for _ in range(count)]
    total, before = sum(weights), 0
    for job, weight in zip(jobs, weights, strict=True):
        shares[min(count - 1, (before + weight // 2) * count // max(1, total))].append(job)
        before += weight
    return shares


def _make_vllm_options(settings: LanguageModel, folder: str) -> dict[str, Any]:
    """Make the arguments of `vllm.LLM`."""
    options: dict[str, Any] = {
        "model": folder,
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "tensor_parallel_size": settings.tensor_parallel,
        "max_model_len": settings.max_model_tokens or -1,  # -1: the model's own, or what fits
        "gpu_memory_utilization": settings.gpu_memory,
        "enable_prefix_caching": True,
        "trust_remote_code": False,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
    }
    if _choose_device(settings) == "cpu":
        options |= {
            "dtype": str(_choose_dtype(settings)).removeprefix("torch."),
            "enforce_eager": True,
            "block_size": _CPU_BLOCK,
            "kv_cache_memory_bytes": _CPU_CACHE_BYTES,
        }
    return options


def _choose_device(settings: LanguageModel) -> str:
    return settings.device or choose_device()


def _choose_dtype(settings: LanguageModel) -> torch.dtype:
    return get_torch_dtype(settings.dtype, _choose_device(settings))


def _assign_gpus(settings: LanguageModel) -> list[list[str] | None]:
    """Assign GPUs to each copy, as CUDA names them; None on a CPU. `device` cuda:N skips N of
    them."""
    copies, each = settings.data_parallel, settings.tensor_parallel
    if _choose_device(settings) == "cpu":
        return [None] * copies
    gpus = list_visible_gpus()[int(_choose_device(settings).partition(":")[2] or 0) :]
    if len(gpus) < copies * each:
        raise UserError(
            "llm.tensor_parallel, llm.data_parallel",
            f"{copies} copies of {each} GPUs each need {copies * each}, but there are {len(gpus)}",
            "lower one of the two",
        )
    return [gpus[n * each : (n + 1) * each] for n in range(copies)]
