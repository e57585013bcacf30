"""vLLM itself, as it runs in the child process that `process` starts; it handles token ids only."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from vllm import LLM, SamplingParams, TokensPrompt
from vllm.sampling_params import StructuredOutputsParams

from distill.llm.protocol import Sampling
from distill.llm.vllm.scoring import REFUSALS, ScoredContinuation, ScoringJob, VLLMScorer

_SEED_COUNT = 1 << 63
"""vLLM takes no larger seeds."""


class VLLMModel:
    """One `vllm.LLM`, with the methods that the parent process calls."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.llm = LLM(**options)
        self.max_tokens: int = self.llm.llm_engine.model_config.max_model_len
        self._scorer: VLLMScorer | None = None

    def generate(
        self, jobs: Sequence[tuple[list[int], int]], sampling: Sampling
    ) -> list[tuple[str, bool, int, int]]:
        """Generate for each prompt and its seed: the text, whether it came to an end, the prompt's
        tokens that the prefix cache had, and the number of new tokens."""
        outputs = self.llm.generate(
            [TokensPrompt(prompt_token_ids=ids) for ids, _ in jobs],
            [_make_sampling_params(sampling, seed) for _, seed in jobs],
            use_tqdm=False,
        )
        return [
            (
                output.outputs[0].text,
                output.outputs[0].finish_reason == "stop",
                output.num_cached_tokens or 0,
                len(output.outputs[0].token_ids),
            )
            for output in outputs
        ]

    def score(self, jobs: Sequence[ScoringJob]) -> list[ScoredContinuation]:
        """Score jobs; the first call finds out which of vLLM's methods works here."""
        self._scorer = self._scorer or VLLMScorer(self.llm)
        return self._scorer.score(jobs)


def _make_sampling_params(sampling: Sampling, seed: int) -> SamplingParams:
    constraint = None
    if sampling.regex is not None or sampling.json_schema is not None:
        constraint = StructuredOutputsParams(regex=sampling.regex, json=sampling.json_schema)
    return SamplingParams(
        max_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=list(sampling.stop),
        seed=seed % _SEED_COUNT if sampling.temperature > 0 else None,
        structured_outputs=constraint,
    )


def main() -> None:
    """Reply to calls until the parent ends. A reply is (fault, result); any exception that is not a
    refusal ends the process, and vLLM's own traceback says why."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        model = VLLMModel(connection.recv())
    except REFUSALS as fault:
        connection.send((str(fault), None))
        return
    connection.send((None, model.max_tokens))
    while True:
        try:
            method, *arguments = connection.recv()
            connection.send(_call(model, method, arguments))
        except (EOFError, BrokenPipeError):  # the parent has ended, or was killed
            return


def _end_with_parent(parent: int) -> None:
    """End this session, with all processes that vLLM started in it, when the parent was killed:
    that frees its GPUs."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _call(model: VLLMModel, method: str, arguments: list[Any]) -> tuple[str | None, Any]:
    try:
        return None, getattr(model, method)(*arguments)
    except REFUSALS as fault:
        return str(fault), None


if __name__ == "__main__":
    main()
