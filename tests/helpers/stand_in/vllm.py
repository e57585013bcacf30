"""A stand-in for vLLM in the child process of an engine: it writes each prompt's tokens backwards,
as characters. The first time that it is asked for `STOPS` it computes until it is killed."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

STOPS = [ord(letter) for letter in "stops"]

# What the engine's code imports of vLLM's other modules stands here, too.
for name in ("exceptions", "logprobs", "sampling_params"):
    sys.modules[f"vllm.{name}"] = sys.modules[__name__]


class VLLMValidationError(Exception):
    """vLLM's refusal of a request."""


class FlatLogprobs:
    """Nothing is scored here."""


class RequestOutput(SimpleNamespace):
    """The completions of a prompt."""


class SamplingParams(SimpleNamespace):
    """How a prompt is continued."""


class StructuredOutputsParams(SimpleNamespace):
    """The form of a continuation."""


class TokensPrompt(SimpleNamespace):
    """A prompt as tokens."""


class LLM:
    """Leaves the file `computing` in the folder `marks` while it computes what it does not end."""

    def __init__(self, marks: str) -> None:
        self._computing = Path(marks) / "computing"
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))

    def generate(self, prompts: list[Any], *_: Any, use_tqdm: bool) -> list[RequestOutput]:
        return [self._continue(prompt.prompt_token_ids) for prompt in prompts]

    def _continue(self, ids: list[int]) -> RequestOutput:
        if ids == STOPS and not self._computing.exists():
            self._computing.touch()
            time.sleep(600)
        text = "".join(map(chr, reversed(ids)))
        one = SimpleNamespace(text=text, finish_reason="stop", token_ids=ids)
        return RequestOutput(outputs=[one], num_cached_tokens=0)
