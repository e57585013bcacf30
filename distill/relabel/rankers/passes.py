"""Passes of rankers over the candidates: the fingerprint of each, and its judge on an engine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from distill.errors import UserError
from distill.llm.judge import (
    HIGHEST_WORD_GRADE,
    JudgedLists,
    JudgeRequests,
    judge_fused,
    judge_graded,
    judge_in_words,
    judge_ql,
    judge_rc,
)
from distill.llm.load import identify_llm, uses_chat_template
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.protocol import LLM
from distill.llm.tokenization import fingerprint_tokenization
from distill.models.reference import identify_revision
from distill.recipe import Judge, LanguageModel, Recipe, Relabel, Retriever
from distill.store.local_name import name_model

RankerName = Literal["ql", "rc", "graded", "listwise", "cross_encoder", "bm25", "fused"]
"""A pass over the candidates: the name of its ranker, or `fused` for ql and rc together."""


class RankerSettings(NamedTuple):
    """The settings of a recipe's rankers: the section `relabel`, the language model that some of
    them ask, the retriever, whose order and BM25 index are rankers too and on whose device the
    cross-encoder runs, and the folder that prompts are named relative to."""

    rule: Relabel
    llm: LanguageModel
    retriever: Retriever
    folder: Path

    @classmethod
    def select(cls, recipe: Recipe) -> "RankerSettings":
        """Select them of a recipe."""
        return cls(recipe.relabel, recipe.judging_llm, recipe.retriever, recipe.folder)


@dataclass(frozen=True)
class RankingPass:
    """A pass ready to judge. `judge` returns one `JudgedLists` for each of `rankers`; `fingerprint`
    changes whenever scores would; `llm` holds the settings of the LLM that judges, if one does."""

    rankers: tuple[Judge, ...]
    fingerprint: dict[str, object]
    judge: Callable[[JudgeRequests], list[JudgedLists]]
    llm: LanguageModel | None = None


def list_passes(rule: Relabel, judges: list[Judge]) -> list[RankerName]:
    """List the passes in which these rankers judge."""
    if rule.fused and {"ql", "rc"} <= set(judges):
        return ["fused", *(j for j in judges if j not in ("ql", "rc"))]
    return [*judges]


def identify_pass(name: RankerName, settings: RankerSettings) -> dict[str, object]:
    """Collect all that changes a pass's scores, as far as known without an engine."""
    rule, llm = settings.rule, settings.llm
    if name == "cross_encoder":
        model = rule.cross_encoder or ""
        return {
            "model": name_model(model),
            "revision": identify_revision(model),
            "max_tokens": rule.cross_encoder_tokens,
            "version": 1,
        }
    prompt = _load_pass_prompt(name, rule, settings.folder)
    identity: dict[str, object] = {
        "llm": identify_llm(llm),
        "prompt": prompt.source,
        "max_passage_words": rule.max_passage_words,
        "version": 2,
    }
    if name == "listwise":
        identity["window"] = rule.listwise_window
    else:
        identity |= fingerprint_tokenization(llm, prompt)
    if name in ("rc", "graded") and llm.engine == "http":
        identity["prompt_grade"] = _load_grade_prompt(settings).source
    if name in ("rc", "graded", "listwise") and llm.verdict_tokens:
        identity["verdict_tokens"] = llm.verdict_tokens
    return identity


def open_ranking(name: RankerName, settings: RankerSettings, llm: Callable[[], LLM]) -> RankingPass:
    """Open a pass of the LLM over pairs, ready to judge. `listwise` and `bm25` are not opened here:
    they have stages of their own. For the cross-encoder see `open_cross_encoder`.

    Raises:
        UserError: before the first pair, if the engine cannot do what the pass needs.
    """
    mark = {"pass": name, **identify_pass(name, settings)}
    engine, prompt = llm(), _load_pass_prompt(name, settings.rule, settings.folder)
    model = settings.llm
    if name in ("ql", "fused") and not engine.can_score:
        raise UserError(
            settings.llm.model,
            "ranker 'ql' needs the log-probabilities of a prompt, which this engine does not give",
            "choose another engine, or relabel.rankers: [rc, retriever] without relabel.fused, or "
            "[listwise, retriever]",
        )
    if name == "fused":
        return RankingPass(
            ("ql", "rc"), mark, lambda requests: [*judge_fused(engine, prompt, requests)], model
        )
    if name == "ql":
        return RankingPass(
            ("ql",), mark, lambda requests: [judge_ql(engine, prompt, requests)], model
        )
    judge: Judge = "rc" if name == "rc" else "graded"
    if engine.can_compare_verdicts:
        by_logprobs = judge_rc if judge == "rc" else judge_graded
        return RankingPass(
            (judge,), mark, lambda requests: [by_logprobs(engine, prompt, requests)], model
        )
    by_words = _make_word_judge(judge, settings, engine)
    return RankingPass((judge,), {**mark, "by": "words"}, by_words, model)


def _make_word_judge(
    judge: Judge, settings: RankerSettings, engine: LLM
) -> Callable[[JudgeRequests], list[JudgedLists]]:
    """Make a judge by grades in words, from 0 to 10, scaled to what they replace: a grade from 0 to
    3, or log-odds above and below 0."""
    prompt, chat = _load_grade_prompt(settings), uses_chat_template(settings.llm, engine)
    scale, zero = (0.3, 0.0) if judge == "graded" else (1.0, -HIGHEST_WORD_GRADE / 2)

    def judge_requests(requests: JudgeRequests) -> list[JudgedLists]:
        graded = judge_in_words(engine, prompt, requests, chat, settings.llm)
        return [[[(zero + scale * grade, n) for grade, n in grades] for grades in graded]]

    return judge_requests


def _load_pass_prompt(name: RankerName, rule: Relabel, folder: Path) -> Prompt:
    """Load a pass's prompt; a fused pass reads both scores off the prompt of rc."""
    ranker = "rc" if name == "fused" else name
    file = getattr(rule, f"prompt_{ranker}")
    return load_prompt(file, folder, parts=1 if name == "listwise" else 2)


def _load_grade_prompt(settings: RankerSettings) -> Prompt:
    return load_prompt(settings.rule.prompt_grade, settings.folder, parts=1)
