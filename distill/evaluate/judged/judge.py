"""An LLM judges pairs of query and passage, blind to which system found them and where."""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
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
from distill.llm.lazy import choose_needs
from distill.llm.load import identify_llm, uses_chat_template
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.protocol import LLM
from distill.llm.tokenization import fingerprint_tokenization
from distill.llm.usable import refuse_if_none_usable
from distill.recipe import JudgedPool, LanguageModel
from distill.runtime.interrupt import Interrupt
from distill.runtime.progress import Progress
from distill.store.judgement_cache import JudgementCache, make_earlier_key, make_judgement_key
from distill.store.stage import Stage
from distill.text.sanitize import sanitize_for_prompt
from distill.workers.device import ExecutionNotes
from distill.workers.protocol import LazyBatches, OpenWork, WorkerJob

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
    if model.verdict_tokens:
        identity["verdict_tokens"] = model.verdict_tokens
    return LLMJudge(model, identity, prompt, words, pool.judge, pool.max_passage_words)


def judge_pairs(
    judge: LLMJudge,
    seed: int,
    pairs: Sequence[JudgedPair],
    llm: Callable[[], LLM],
    cache: Path,
    stage: Stage,
) -> list[float]:
    """Judge each pair: its relevance from 0 to 1; nan where the model has no usable score.

    Pairs are judged one by one, in an order drawn by seed. What was judged is kept in the cache at
    once, and never judged again.

    Args:
        stage: what they are judged for; its workers open the LLM, and this process alone keeps
            what they say.

    Raises:
        UserError: as soon as no pair of several has a usable score, whenever it was judged: the
            others would cost as much in vain.
    """
    texts = [sanitize_for_prompt(pair.passage, judge.max_passage_words) for pair in pairs]
    mark = {"task": "judged", **judge.identity}
    keys, earlier = (
        [make_key(mark, text, pair.query) for text, pair in zip(texts, pairs, strict=True)]
        for make_key in (make_judgement_key, make_earlier_key)
    )
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    with closing(JudgementCache(cache)) as known:
        stored = known.find(keys, earlier)
        blocks = _list_blocks(order, keys, set(stored))
        requests = LazyBatches[JudgeRequests](
            len(blocks), lambda number: [[(texts[n], [pairs[n].query]) for n in blocks[number]]]
        )
        opens = partial(_open_work, judge, llm)
        job = WorkerJob(stage.name, opens, requests, choose_needs(llm))
        file, name = stage.metadata_dir / "manifest.json", f"stage {stage.name}"
        notes = ExecutionNotes(file, name, stage.folder, stage.workers)
        done = len(pairs) - sum(map(len, blocks))
        named, judged_now = f"model {judge.settings.model!r}", 0
        with (
            stage.workers.begin(job) as team,
            Interrupt() as interrupt,
            Progress("judged", len(pairs), "pairs", done, team.tokens, 1, lambda: team.note) as bar,
        ):
            for number, judged, _ in team.iterate_results(lambda: interrupt.is_requested):
                notes.note_devices(team.describe())
                block = blocks[number]
                new = {keys[n]: of[0] for n, of in zip(block, judged[0], strict=True)}
                new = {key: score for key, score in new.items() if math.isfinite(score[0])}
                known.keep(new)
                stored |= new
                judged_now += len(block)
                refuse_if_none_usable(named, len(stored), judged_now, judge.settings)
                bar.advance(len(block))
            notes.add(team.describe())
            interrupt.stop_if_requested()
    return [stored[key][0] if key in stored else math.nan for key in keys]


def _list_blocks(order: Sequence[int], keys: Sequence[bytes], known: set[bytes]) -> list[list[int]]:
    """List the pairs that are not known, block by block. Of equal texts the earlier block judges
    one for both: nothing depends on which block is done first."""
    blocks = []
    for start in range(0, len(order), _PAIRS_AT_ONCE):
        block = [n for n in order[start : start + _PAIRS_AT_ONCE] if keys[n] not in known]
        known.update(keys[n] for n in block)
        if block:
            blocks.append(block)
    return blocks


@contextmanager
def _open_work(
    judge: LLMJudge, llm: Callable[[], LLM]
) -> Iterator[OpenWork[JudgeRequests, JudgedLists]]:
    engine = llm()
    judge_block = _choose_form(judge, engine)
    yield OpenWork(lambda blocks: [*map(judge_block, blocks)], lambda: engine.tokens)


def _choose_form(judge: LLMJudge, engine: LLM) -> Callable[[JudgeRequests], JudgedLists]:
    """Choose what turns requests into relevance from 0 to 1."""
    if not engine.can_compare_verdicts:
        chat = uses_chat_template(judge.settings, engine)
        return lambda requests: _scale(
            judge_in_words(engine, judge.words_prompt, requests, chat, judge.settings),
            lambda grade: grade / HIGHEST_WORD_GRADE,
        )
    if judge.form == "rc":
        return lambda requests: _scale(judge_rc(engine, judge.prompt, requests), _squash)
    return lambda requests: _scale(
        judge_graded(engine, judge.prompt, requests), lambda grade: grade / _HIGHEST_GRADE
    )


def _scale(judged: JudgedLists, scale: Callable[[float], float]) -> JudgedLists:
    return [[(scale(score), tokens) for score, tokens in scores] for scores in judged]


def _squash(log_odds: float) -> float:
    return 0.5 * (1 + math.tanh(log_odds / 2))
