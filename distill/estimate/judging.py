"""Measure what an LLM takes to judge one pair of a passage and a query."""

import math
import time
from collections.abc import Sequence

from distill.errors import UserError
from distill.estimate.amounts import ZERO, Amount, make_exact_amount
from distill.estimate.context import EstimateContext
from distill.estimate.measure import QuerySample, UnitCost, UsageMeter, count_mean_tokens
from distill.generate.passages.method import open_method
from distill.generate.settings import WritingSettings
from distill.llm.judge import GRADES, VERDICTS, JudgedLists
from distill.llm.load import uses_chat_template
from distill.llm.prompts import load_prompt
from distill.llm.usable import refuse_if_none_usable
from distill.recipe import LanguageModel
from distill.relabel.rankers.cross_encoder import LazyCrossEncoder, open_cross_encoder
from distill.relabel.rankers.listwise import judge_listwise, make_windows
from distill.relabel.rankers.passes import RankerName, RankerSettings, open_ranking
from distill.store.tables import join_passage
from distill.text.sanitize import sanitize_for_prompt

_FIRST_WORDS = 10
"""Words of a passage that stand for a query, if none was written."""
_VERDICTS = {"ql": ("",), "rc": VERDICTS, "graded": GRADES, "fused": ("", *VERDICTS)}
_PROMPTS = {"fused": "rc"}


def measure_judgements(
    context: EstimateContext, name: RankerName, sample: QuerySample, queries_a_passage: int
) -> UnitCost | None:
    """Measure one of the run's pairs on the sample's passages and queries; None if the engine
    cannot judge. A server is asked for each passage with its own query alone, which the run is
    likely to ask for too.

    Args:
        name: a pass that judges by log-probabilities.
        queries_a_passage: number of queries for which a passage's tokens are computed once.
    """
    recipe = context.recipe
    passages, queries = _choose_texts(context, sample)
    if not context.sample:
        return _count_cost(context, name, passages, queries)
    engine = context.llm()
    try:
        ranking = open_ranking(name, RankerSettings.select(recipe), lambda: engine)
    except UserError:
        return None
    several = 1 if recipe.judging_llm.engine == "http" else min(queries_a_passage, len(queries))
    requests = [
        (passage, [queries[(number + i) % len(queries)] for i in range(several)])
        for number, passage in enumerate(passages)
    ]
    clock = UsageMeter(engine)
    _refuse_useless_judge(name, ranking.judge(requests), recipe.judging_llm)
    return clock.compute_cost(several * len(passages)) or _count_cost(
        context, name, passages, queries
    )


def _refuse_useless_judge(name: RankerName, judged: list[JudgedLists], llm: LanguageModel) -> None:
    scores = [score for lists in judged for of_passage in lists for score, _ in of_passage]
    refuse_if_none_usable(f"ranker {name}", sum(map(math.isfinite, scores)), len(scores), llm)


def measure_cross_encoder(context: EstimateContext, sample: QuerySample) -> Amount | None:
    """Measure the cross-encoder's seconds a pair; None if it is not available, or not measured."""
    if not context.sample:
        return None
    try:
        rankers = RankerSettings.select(context.recipe)
        ranking = open_cross_encoder(rankers, LazyCrossEncoder.select(rankers))
    except UserError:
        return None
    passages, queries = _choose_texts(context, sample)
    requests = [(passage, queries) for passage in passages]
    ranking.judge(requests[:1])
    start = time.perf_counter()
    ranking.judge(requests)
    return make_exact_amount((time.perf_counter() - start) / (len(passages) * len(queries)))


def measure_listwise(context: EstimateContext, sample: QuerySample, size: int) -> UnitCost:
    """Measure the listwise judgement of one query and `size` passages: a prompt a window."""
    recipe, window = context.recipe, context.recipe.relabel.listwise_window
    prompt = load_prompt(recipe.relabel.prompt_listwise, recipe.folder, parts=1)
    passages, queries = _choose_texts(context, sample)
    several = [passages[number % len(passages)] for number in range(size)]
    if context.sample:
        engine = context.llm()
        clock = UsageMeter(engine)
        chat = uses_chat_template(recipe.judging_llm, engine)
        lists = [(query, several) for query in queries]
        most = recipe.judging_llm.verdict_tokens
        judge_listwise(engine, prompt, lists, window, chat, max_tokens=most)
        if each := clock.compute_cost(len(queries)):
            return each
    slides = make_windows(size, window)
    requests = [
        prompt.render(
            query=query,
            passages=several[: len(slide)],
            chat=recipe.judging_llm.prompt_format == "chat",
        )
        for query in queries
        for slide in slides
    ]
    replies = [" > ".join(f"[{place + 1}]" for place in slide) for slide in slides]
    number = float(len(slides))
    return UnitCost(
        count_mean_tokens(requests).multiply(number), count_mean_tokens(replies).multiply(number)
    )


def _choose_texts(context: EstimateContext, sample: QuerySample) -> tuple[list[str], list[str]]:
    """Return the sample's passages as they are judged, and its queries."""
    words = context.recipe.relabel.max_passage_words
    passages = [sanitize_for_prompt(join_passage(one.passage), words) for one in sample.requests]
    queries = _list_parsed_queries(context, sample) or [
        sanitize_for_prompt(text, _FIRST_WORDS) for text in passages
    ]
    return passages, queries


def _list_parsed_queries(context: EstimateContext, sample: QuerySample) -> list[str]:
    """Return the queries of the sample's replies that could be parsed."""
    method = open_method(WritingSettings.select(context.recipe))
    parsed = [method.parse(one.text, one.finished) for one in sample.completions]
    return [one.query for one in parsed if one.reason is None]


def _count_cost(
    context: EstimateContext, name: RankerName, passages: Sequence[str], queries: Sequence[str]
) -> UnitCost:
    """Count words alone. The likelihood of a verdict needs the pair again for each verdict."""
    relabel = context.recipe.relabel
    file = getattr(relabel, f"prompt_{_PROMPTS.get(name, name)}")
    prompt = load_prompt(file, context.recipe.folder, parts=2)
    verdicts = _VERDICTS[name]
    texts = [
        prompt.render(passage=passage) + prompt.render(1, query=query, verdict=verdict)
        for passage, query in zip(passages, [*queries] * len(passages), strict=False)
        for verdict in verdicts
    ]
    pair: Amount = count_mean_tokens(texts).multiply(len(verdicts))
    return UnitCost(pair, ZERO)
