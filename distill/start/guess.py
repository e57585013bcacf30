"""A first guess of what a run takes, from amounts and sizes alone; `distill estimate` measures."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from distill.corpus.held_out import JUDGED
from distill.recipe.sections.evaluate import JudgedPool
from distill.start.available import Available
from distill.start.checks.models import guess_parameters
from distill.start.survey import CorpusSurvey

_FLOPS_PER_CORE = 8e10
_FLOPS_OF_GPU = 5e13
"""Of 16-bit products in practice, on a GPU of a data centre."""
_BYTES_PER_SECOND = 1e10
"""From a computer's memory: a written token reads all weights once."""
_PROMPT, _JUDGED, _WRITTEN = 500, 250, 40
"""Tokens of a prompt that writes a query, of one that judges a pair, and of a written query."""
_POOLED = 25
"""Passages that the LLM judges of a held-out query: the first ten of seven systems, many shared."""
_ENCODERS = {"large": 335e6, "base": 110e6, "small": 33e6, "minilm": 23e6}
"""Parameters of encoders, by a part of their names."""
_TRAIN_TOKENS = 100
"""Of a text in training."""
_QUERY_TOKENS = 30
"""Of a query out of a passage's own text."""
_STATIC_SECONDS = 5e-4
"""That a static query encoder learns from a query."""
_SPREAD = 2.0
"""How far the true time may lie from the guess, as a factor."""


class RunGuess(NamedTuple):
    """Tokens that the LLM reads and writes, and bounds of the time in seconds; None where the LLM
    or the teacher runs on a server, whose speed is not known."""

    queries: int
    pairs: int
    prompt_tokens: int
    new_tokens: int
    seconds: tuple[float, float] | None


def guess_run(settings: Mapping[str, Any], corpus: CorpusSurvey, available: Available) -> RunGuess:
    """Guess the work of a run with these settings, by key."""
    queries = settings.get("generate.passages", 0)
    free = settings.get("generate.free", {}).get("queries", 0)
    pairs = queries * settings.get("relabel.top_k", 0)
    held_out = _guess_held_out(settings, corpus)
    written, judged = queries + held_out, pairs + held_out * _POOLED
    prompt, new = written * _PROMPT + judged * _JUDGED, written * _WRITTEN
    served = settings.get("llm.engine") == "http" and queries
    llm = guess_parameters(str(settings.get("llm.model", ""))) or 1e9
    encoder = _guess_encoder(str(settings["teacher.model"]))
    aligned = sum(settings.get("train.align", {}).values())
    speed = _FLOPS_OF_GPU if available.gpu else available.cores * _FLOPS_PER_CORE
    read = 2 * corpus.tokens + aligned * _TRAIN_TOKENS + free * _QUERY_TOKENS
    embedding = 2 * encoder * read
    most = settings.get("train.max_steps", math.inf) * settings.get("train.batch_size", 1)
    learnt = _TRAIN_TOKENS * (aligned + 3 * queries) + _QUERY_TOKENS * min(free, most)
    training = 6 * encoder * learnt
    seconds = (embedding + training) / speed
    seconds += settings.get("student.add_static", {}).get("epochs", 0) * free * _STATIC_SECONDS
    if served or "teacher.base_url" in settings:
        return RunGuess(written, judged, prompt, new, None)
    seconds += 2 * llm * prompt / speed + new * llm / _BYTES_PER_SECOND
    return RunGuess(written, judged, prompt, new, (seconds / _SPREAD, seconds * _SPREAD))


def _guess_held_out(settings: Mapping[str, Any], corpus: CorpusSurvey) -> int:
    """Guess how many queries for held-out passages are written; 0 where none is asked for."""
    if JUDGED not in settings.get("evaluate.tasks", []):
        return 0
    pool = JudgedPool.model_validate(settings.get("evaluate.judged", {}))
    return min(pool.queries, math.ceil(corpus.passages * settings["corpus.held_out"]))


def _guess_encoder(model: str) -> float:
    name = model.lower()
    known = [size for part, size in _ENCODERS.items() if part in name]
    return known[0] if known else guess_parameters(model) or _ENCODERS["base"]


def describe_guess(guess: RunGuess) -> str:
    """Describe a guess, such as `200 queries, 1,600 judged pairs; 0.5M tokens read and 8,000
    written; 10 to 40 min`."""
    words = []
    if guess.queries:
        words.append(f"{guess.queries:,} queries and {guess.pairs:,} judged pairs")
        words.append(
            f"the LLM reads {guess.prompt_tokens:,} and writes {guess.new_tokens:,} tokens"
        )
    if guess.seconds is None:
        words.append("time and cost depend on the server: `distill estimate --prices FILE`")
    else:
        low, high = (max(1, math.ceil(seconds / 60)) for seconds in guess.seconds)
        minutes = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        words.append(f"roughly {minutes} min on this machine")
    return "; ".join(words)
