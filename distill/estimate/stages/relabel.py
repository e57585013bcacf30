"""Estimate `distill relabel`: candidates, judgements, labels and examples."""

import math
from dataclasses import replace

from distill.estimate.amounts import (
    UNKNOWN,
    Amount,
    StageEstimate,
    make_bounded_amount,
    make_exact_amount,
)
from distill.estimate.context import EstimateContext
from distill.estimate.judging import measure_cross_encoder, measure_judgements, measure_listwise
from distill.estimate.measure import QuerySample
from distill.estimate.stages.generate import CANNOT_JUDGE, QueryEstimate
from distill.estimate.stages.train import STATIC
from distill.estimate.storage import count_pair_shards, count_shards
from distill.recipe import Judge
from distill.relabel.rankers.passes import RankerName, list_passes
from distill.relabel.teaching import make_check_rule, make_teaching_rule

_EARLIER = "pairs that a round before has judged are not judged again"


def estimate_judge(context: EstimateContext, queries: QueryEstimate) -> list[StageEstimate]:
    """Estimate the round that teaches the judge, and its training; nothing where the recipe trains
    none."""
    recipe = context.recipe
    if not recipe.trains_judge or not queries.number.high:
        return []
    judge = recipe.judge
    number = make_bounded_amount(min(judge.queries, queries.number.high))
    rule = make_teaching_rule(recipe.relabel, judge)
    teaching = replace(context, recipe=recipe.model_copy(update={"relabel": rule}))
    lines = estimate_relabelling(teaching, QueryEstimate(number, queries.sample))[:-1]
    context.embedded = teaching.embedded
    steps = make_bounded_amount(
        math.ceil(judge.epochs * math.ceil((number.high or 0) / judge.batch_size))
    )
    note = "time is not measured"
    return [
        *(replace(line, stage=f"round-judge/{line.stage}") for line in lines),
        StageEstimate("judge", steps, "steps", seconds=UNKNOWN, note=note),
    ]


def estimate_check(context: EstimateContext, queries: QueryEstimate) -> list[StageEstimate]:
    """Estimate the check of rankers; nothing where the recipe makes none."""
    recipe = context.recipe
    if recipe.relabel.weights != "auto" or not queries.number.high:
        return []
    number = make_bounded_amount(min(recipe.relabel.check.queries, context.corpus_size))
    rule = make_check_rule(recipe.relabel)
    checked = replace(context, recipe=recipe.model_copy(update={"relabel": rule}))
    lines = estimate_relabelling(checked, QueryEstimate(number, queries.sample))[:-1]
    return [replace(line, stage=f"round-check/{line.stage}") for line in lines]


def estimate_relabelling(context: EstimateContext, queries: QueryEstimate) -> list[StageEstimate]:
    """Estimate one round of relabelling; nothing without queries."""
    number, sample = queries
    if not number.high:
        return []
    rule = context.recipe.relabel
    list_size = context.count_candidates()
    later_size = min(rule.cascade.keep + 1, context.corpus_size)
    lines = [_estimate_candidates(context, number)]
    later: list[Judge] = [judge for judge in rule.judges if judge not in rule.first_judges]
    for judges, size in ((rule.first_judges, list_size), (later, later_size)):
        names = list_passes(rule, judges)
        lines += [
            _add_pairs(context, _estimate_judging(context, name, sample, number.high, size), number)
            for name in names
        ]
    pairs = make_bounded_amount(number.high * list_size)
    shards = count_shards(number, rule.shard_size)
    return [
        *lines,
        context.add_storage(StageEstimate("labels", pairs, "pairs"), "labels", shards),
        context.add_storage(StageEstimate("examples", number, "examples"), "examples", shards),
    ]


def _add_pairs(context: EstimateContext, line: StageEstimate, queries: Amount) -> StageEstimate:
    """Return a line of judged pairs with what they take on the disk."""
    rankers = make_exact_amount(2 if line.stage.endswith("-fused") else 1)
    shards = count_pair_shards(queries, line.amount, context.recipe.relabel)
    stored = context.add_storage(
        replace(line, amount=line.amount.multiply(rankers)), "judgements", shards
    )
    return replace(stored, amount=line.amount)


def _estimate_candidates(context: EstimateContext, queries: Amount) -> StageEstimate:
    pairs = make_bounded_amount((queries.high or 0) * context.count_candidates())
    line = context.estimate_retriever_stage("candidates", pairs, "pairs", queries)
    shards = count_shards(queries, context.recipe.relabel.shard_size)
    return context.add_storage(line, "candidates", shards)


def estimate_rounds(
    context: EstimateContext,
    queries: Amount,
    relabelling: list[StageEstimate],
    training: list[StageEstimate],
) -> list[StageEstimate]:
    """Estimate all rounds, each a relabelling and a training of its own, from the lines of the
    first one. The student that retrieves in a later round embeds the corpus again, unless it is a
    query encoder."""
    recipe = context.recipe
    of_seeds = recipe.relabel.first_round == "seed"
    estimates: list[StageEstimate] = []
    for number in range(1, recipe.relabel.rounds + 1):
        lines = [*relabelling, *training]
        if number > 1 and relabelling and recipe.student.route == "query":
            lines[0] = _estimate_candidates(context, queries)
        if number == recipe.relabel.rounds:
            return estimates + lines
        estimates += [
            replace(line, stage=f"round-{number}/{line.stage}", note=line.note or _EARLIER)
            for line in lines
            if line.stage != STATIC  # which is added once, at the end
            and (number > 1 or not (of_seeds and line.stage.startswith("judgements")))
        ]
    return estimates


def _estimate_judging(
    context: EstimateContext,
    name: RankerName,
    sample: QuerySample | None,
    queries: float,
    size: int,
) -> StageEstimate:
    """Estimate one pass over the lists of these queries, `size` passages each. Without a sample
    of queries that an LLM wrote, what its judgements take is not measured."""
    context = context.turn_to_judging()
    stage, pairs = f"judgements-{name}", make_bounded_amount(queries * size)
    if name == "bm25":
        return StageEstimate(stage, pairs, "pairs", note="no LLM")
    if sample is None:
        return StageEstimate(stage, pairs, "pairs", seconds=UNKNOWN, note="not measured")
    if name == "cross_encoder":
        each_pair = measure_cross_encoder(context, sample)
        seconds = UNKNOWN if each_pair is None else pairs.multiply(each_pair)
        return StageEstimate(stage, pairs, "pairs", seconds=seconds, note="no LLM")
    if name == "listwise":
        return context.estimate_llm_stage(
            stage,
            pairs,
            "pairs",
            make_bounded_amount(queries),
            measure_listwise(context, sample, size),
        )
    shared_by = max(1, round((pairs.high or 0) / max(1, context.corpus_size)))
    each = measure_judgements(context, name, sample, shared_by)
    if each is None:
        return StageEstimate(stage, pairs, "pairs", seconds=UNKNOWN, note=CANNOT_JUDGE)
    return context.estimate_llm_stage(stage, pairs, "pairs", pairs, each)
