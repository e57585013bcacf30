"""An LLM judges pairs of query and passage, blind to which system found them and where."""

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from distill.llm.judge import (
    HIGHEST_WORD_GRADE,
    JudgedLists,
    JudgeRequests,
    judge_graded,
    judge_in_words,
    judge_rc,
)
from distill.llm.load import identify_llm, uses_chat_template
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.protocol import LLM
from distill.llm.tokenization import fingerprint_tokenization
from distill.recipe import JudgedPool, LanguageModel
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress
from distill.store.judgement_cache import JudgementCache, make_earlier_key, make_judgement_key
from distill.text.sanitize import sanitize_for_prompt

_PACKAGED = {"graded": "prompts/graded.jinja", "rc": "prompts/rc.jinja"}
_IN_WORDS = "prompts/grade.jinja"
_HIGHEST_GRADE = 3
_PAIRS_AT_ONCE = 64
"""Judged, and then kept, at a time: what a kill loses at most."""


class JudgedPair(NamedTuple):
    """A query's and a passage's id and text."""

    query_id: str
    passage_id: str
    query: str
    passage: str


class LLMJudge(NamedTuple):
    """An LLM as judge, with its prompts. `identity` changes whenever scores would; `prompt_hash`
    names the prompt in the records, and a passage is cut to its first `max_passage_words`."""

    settings: LanguageModel
    identity: dict[str, Any]
    prompt: Prompt
    words_prompt: Prompt
    form: str
    max_passage_words: int

    @property
    def prompt_hash(self) -> str:
        """16 hex digits of the prompt's text."""
        return hashlib.sha256(self.prompt.source.encode()).hexdigest()[:16]


def load_judge_prompt(pool: JudgedPool, folder: Path) -> Prompt:
    """Load the prompt by which pairs of the pool are judged.

    Args:
        folder: of the recipe, which prompts are named relative to.

    Raises:
        UserError: if it is missing or malformed.
    """
    return load_prompt(get_judge_prompt_file(pool), folder, parts=2)


def get_judge_prompt_file(pool: JudgedPool) -> str:
    """Get the file of that prompt, relative to the recipe's folder."""
    return pool.judge_prompt or _PACKAGED[pool.judge]


def open_judge(pool: JudgedPool, llm: LanguageModel, folder: Path) -> LLMJudge:
    """Read what the judge needs but the engine.

    Args:
        llm: judges, where the pool names no other.
        folder: of the recipe, which prompts are named relative to.

    Raises:
        UserError: if a prompt is missing or malformed.
    """
    model = pool.llm or llm
    prompt = load_judge_prompt(pool, folder)
    words = load_prompt(_IN_WORDS, folder, parts=1)
    identity = {
        "judge": pool.judge,
        "llm": identify_llm(model),
        "prompt": prompt.source,
        "max_passage_words": pool.max_passage_words,
        **fingerprint_tokenization(model, prompt),
    }
    if model.engine == "http":
        identity["prompt_grade"] = words.source
    return LLMJudge(model, identity, prompt, words, pool.judge, pool.max_passage_words)


def judge_pairs(
    judge: LLMJudge,
    seed: int,
    pairs: Sequence[JudgedPair],
    llm: Callable[[], LLM],
    cache: Path,
) -> list[float]:
    """Judge each pair: its relevance from 0 to 1; nan where the model has no usable score.

    Pairs are judged one by one, in an order drawn by seed. What was judged is kept in the cache at
    once, and never judged again.
    """
    texts = [sanitize_for_prompt(pair.passage, judge.max_passage_words) for pair in pairs]
    mark = {"task": "judged", **judge.identity}
    keys, earlier = (
        [make_key(mark, text, pair.query) for text, pair in zip(texts, pairs, strict=True)]
        for make_key in (make_judgement_key, make_earlier_key)
    )
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    scores = [math.nan] * len(pairs)
    with closing(JudgementCache(cache)) as known:
        stored = known.find(keys, earlier)
        new_ones = [key not in stored for key in keys]
        work = _open_work(judge, llm) if len(stored) < len(set(keys)) else None
        meter = (lambda: work.engine.tokens) if work else None
        with (
            Interrupt() as interrupt,
            Progress(
                "judged", len(pairs), "pairs", len(pairs) - sum(new_ones), meter, requests_a_unit=1
            ) as bar,
        ):
            for start in range(0, len(order), _PAIRS_AT_ONCE):
                block = order[start : start + _PAIRS_AT_ONCE]
                unknown = [n for n in block if keys[n] not in stored]
                if unknown and work is not None:
                    judged = work.judge([(texts[n], [pairs[n].query]) for n in unknown])
                    new = {keys[n]: of[0] for n, of in zip(unknown, judged, strict=True)}
                    new = {key: score for key, score in new.items() if math.isfinite(score[0])}
                    known.keep(new)
                    stored |= new
                for n in block:
                    if keys[n] in stored:
                        scores[n] = stored[keys[n]][0]
                bar.advance(sum(new_ones[n] for n in block))
                interrupt.stop_if_requested()
    return scores


class _JudgeWork(NamedTuple):
    engine: LLM
    judge: Callable[[JudgeRequests], JudgedLists]


def _open_work(judge: LLMJudge, llm: Callable[[], LLM]) -> _JudgeWork:
    """Open the engine, and what turns requests into relevance from 0 to 1."""
    engine = llm()
    if not engine.can_compare_verdicts:
        chat = uses_chat_template(judge.settings, engine)
        return _JudgeWork(
            engine,
            lambda requests: _scale(
                judge_in_words(engine, judge.words_prompt, requests, chat),
                lambda grade: grade / HIGHEST_WORD_GRADE,
            ),
        )
    if judge.form == "rc":
        return _JudgeWork(
            engine, lambda requests: _scale(judge_rc(engine, judge.prompt, requests), _squash)
        )
    return _JudgeWork(
        engine,
        lambda requests: _scale(
            judge_graded(engine, judge.prompt, requests), lambda grade: grade / _HIGHEST_GRADE
        ),
    )


def _scale(judged: JudgedLists, scale: Callable[[float], float]) -> JudgedLists:
    return [[(scale(score), tokens) for score, tokens in scores] for scores in judged]


def _squash(log_odds: float) -> float:
    return 0.5 * (1 + math.tanh(log_odds / 2))
