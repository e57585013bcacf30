"""The transformers engine against plain batched `model.generate`: the same SmolLM2 in the same
dtype, the same prompts, batch size and sampling settings. The peer pads on the left and computes
each prompt in full, as one does. The prompts are the demo recipe's: one of four draws of few-shot
examples for each of six task types, before a passage of the standard library's documentation. Each
round has new passages; only the draws of examples come back."""

import asyncio
import logging
import pathlib
import statistics
import subprocess
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig

from distill.generate.passages.conditions import GenerationConditions
from distill.generate.passages.method import open_method
from distill.generate.settings import WritingSettings
from distill.llm import Sampling
from distill.llm.transformers.continuous_batching import _SLOT_TOKEN_FACTOR
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import load_recipe
from distill.recipe.packaged import get_packaged_folder

MODULES = (asyncio, logging, pathlib, statistics, subprocess, zipfile)


def compare(
    quick: bool, smoke: bool = False, device: str = "cpu", model: str | None = None
) -> dict[str, Any]:
    """Medians over the rounds of prompts a second; `first_ratio` is the first round's, in which
    the engine meets every header for the first time."""
    recipe = load_recipe(get_packaged_folder() / "demo.yaml")
    settings = recipe.generate
    sampling = Sampling(settings.max_new_tokens, settings.temperature, settings.top_p, ("\n\n",))
    dtype = "auto" if device != "cpu" else recipe.llm.dtype
    engine = TransformersEngine(model or recipe.llm.model, dtype, device, recipe.llm.batch_tokens)
    rounds, count = (3, 24) if quick else (5, 64)
    if smoke:
        rounds, count = 1, 4
    written = prompts(rounds * count + 2)
    longest = max(len(engine.prompt_tokenizer.tokenize(text, add_bos=True)) for text in written)
    batch = _SLOT_TOKEN_FACTOR * engine.batch_tokens // (longest + sampling.max_new_tokens)
    plain(engine, written[-2:], sampling, batch)  # reads the vocabulary for its stop strings
    ours, peer = [], []
    for number in range(rounds):
        texts = written[number * count : (number + 1) * count]
        if number % 2:  # who begins changes with the round
            peer.append(timed(plain, engine, texts, sampling, batch))
        ours.append(timed(engine.generate, texts, range(count), sampling))
        if number % 2 == 0:
            peer.append(timed(plain, engine, texts, sampling, batch))
    ratios = [b.wall / a.wall for a, b in zip(ours, peer, strict=True)]
    processor = [b.processor / a.processor for a, b in zip(ours, peer, strict=True)]
    return {
        "name": "generate, transformers engine",
        "unit": "prompts/s",
        "ours": round(count / statistics.median(t.wall for t in ours), 2),
        "peer": round(count / statistics.median(t.wall for t in peer), 2),
        "ratio": round(statistics.median(ratios), 2),
        "first_ratio": round(ratios[0], 2),
        "ratio_of_processor_time": round(statistics.median(processor), 2),
        "first_ratio_of_processor_time": round(processor[0], 2),
        "target": 1.5,
        "peer_is": "batched model.generate, left padding, every prompt in full",
        "prompts_a_round": count,
        "rounds": rounds,
        "batch": batch,
        "dtype": str(engine.model.dtype),
        "tokens": engine.tokens,
        "new_tokens_per_second": round(engine.tokens["new"] / sum(t.wall for t in ours), 1),
    }


class Took(NamedTuple):
    """Seconds, and seconds of all processors, which other programs on the machine disturb less."""

    wall: float
    processor: float


def timed(call: Callable[..., object], *arguments: object) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    call(*arguments)
    return Took(time.perf_counter() - wall, time.process_time() - processor)


def prompts(count: int) -> list[str]:
    recipe = load_recipe(get_packaged_folder() / "demo.yaml")
    method, settings = open_method(WritingSettings.select(recipe)), recipe.generate
    words = " ".join(doc for module in MODULES for doc in documentation(module)).split()
    length = settings.max_passage_words
    texts = []
    for number in range(count):
        start = number * 37 % (len(words) - length)
        # Passages differ in length by a third, as those of a corpus do.
        passage = " ".join(words[start : start + length - number % 3 * length // 6])
        task_type = settings.task_types[number % len(settings.task_types)]
        hand = number // len(settings.task_types) % settings.example_sets
        conditions = GenerationConditions(task_type, hand, None, None, None, None)
        texts.append(method.render_prompt({"title": "", "text": passage}, conditions, chat=False))
    return texts


def documentation(module: object) -> list[str]:
    docs = [getattr(module, name).__doc__ for name in sorted(dir(module))]
    return [doc for doc in docs if isinstance(doc, str)]


@torch.inference_mode()
def plain(
    engine: TransformersEngine, texts: Sequence[str], sampling: Sampling, batch: int
) -> list[str]:
    tokenizer = engine.tokenizer
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=engine._end_ids,
        stop_strings=list(sampling.stop),
    )
    written: list[str] = []
    for start in range(0, len(texts), batch):
        some = list(texts[start : start + batch])
        inputs = tokenizer(some, return_tensors="pt", padding=True, padding_side="left")
        inputs = inputs.to(engine.device)
        output = engine.model.generate(**inputs, generation_config=config, tokenizer=tokenizer)
        new = output[:, inputs["input_ids"].shape[1] :]
        written += tokenizer.batch_decode(new, skip_special_tokens=True)
    return written
