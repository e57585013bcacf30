"""vLLM itself: what runs in the child process of `vllm_process`, on token ids alone."""

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
"""vLLM takes no larger ones."""


class VLLMModel:
    """One `vllm.LLM`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.llm = LLM(**options)
        self.longest: int = self.llm.llm_engine.model_config.max_model_len
        self._scorer: VLLMScorer | None = None

    def write(
        self, jobs: Sequence[tuple[list[int], int]], sampling: Sampling
    ) -> list[tuple[str, bool, int, int]]:
        """For each prompt and its seed: the text, whether it came to an end, the prompt's tokens
        that the prefix cache had, and the new tokens."""
        outputs = self.llm.generate(
            [TokensPrompt(prompt_token_ids=ids) for ids, _ in jobs],
            [_sampling_params(sampling, seed) for _, seed in jobs],
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
        """The first call finds out which of vLLM's ways to log-probabilities works here."""
        self._scorer = self._scorer or VLLMScorer(self.llm)
        return self._scorer.score(jobs)


def _sampling_params(sampling: Sampling, seed: int) -> SamplingParams:
    form = None
    if sampling.regex is not None or sampling.json_schema is not None:
        form = StructuredOutputsParams(regex=sampling.regex, json=sampling.json_schema)
    return SamplingParams(
        max_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=list(sampling.stop),
        seed=seed % _SEED_COUNT if sampling.temperature > 0 else None,
        structured_outputs=form,
    )


def main() -> None:
    """Answer until nobody asks any more. An answer is (fault, result); what is no refusal ends the
    process, and vLLM's own traceback says why."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        model = VLLMModel(connection.recv())
    except REFUSALS as fault:
        connection.send((str(fault), None))
        return
    connection.send((None, model.longest))
    while True:
        try:
            method, *arguments = connection.recv()
            connection.send(_answer(model, method, arguments))
        except (EOFError, BrokenPipeError):  # the parent has ended, or was killed
            return


def _end_with_parent(parent: int) -> None:
    """When the parent was killed, nobody wants the answer: end this session, all that vLLM started
    in it included, and free its GPUs."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _answer(model: VLLMModel, method: str, arguments: list[Any]) -> tuple[str | None, Any]:
    try:
        return None, getattr(model, method)(*arguments)
    except REFUSALS as fault:
        return str(fault), None


if __name__ == "__main__":
    main()
