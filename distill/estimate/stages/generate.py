"""Estimate `distill generate`: passages, queries written for them, examples without passages."""

from dataclasses import replace
from typing import NamedTuple

from distill.estimate.amounts import (
    UNKNOWN,
    ZERO,
    Amount,
    StageEstimate,
    make_bounded_amount,
    make_exact_amount,
    sum_amounts,
)
from distill.estimate.context import EstimateContext
from distill.estimate.judging import measure_judgements
from distill.estimate.measure import QuerySample, UnitCost, count_mean_tokens, sample_prompts
from distill.estimate.storage import BYTES_A_TOKEN
from distill.generate.brainstorm.generations import list_example_requests as spread_examples
from distill.generate.brainstorm.placeholders import check_languages
from distill.generate.brainstorm.schemas import EXAMPLE_SCHEMAS
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, render_request
from distill.generate.log.stage import LogSettings, select_log_queries
from distill.generate.passages.method import open_method
from distill.generate.passages.plan import GenerationPlan
from distill.generate.settings import WritingSettings
from distill.store.shards import list_shards

_LONGEST_TASK = 40
"""Tokens of a brainstormed task: none is known before."""
CANNOT_JUDGE = "this engine gives no log-probabilities: the run would end here"


class QueryEstimate(NamedTuple):
    """The greatest number of queries, and the sample that was generated; None without a corpus."""

    number: Amount
    sample: QuerySample | None


def estimate_passages(context: EstimateContext) -> list[StageEstimate]:
    """Estimate the stage `passages`: the corpus is read by now, so it costs nothing."""
    if context.passages is None:
        return []
    seconds, passages = context.passages.manifest["seconds"], make_exact_amount(context.corpus_size)
    return [
        StageEstimate(
            "passages",
            passages,
            "passages",
            disk=passages.multiply(sum(context.passage_bytes)),
            shards=make_exact_amount(len(list_shards(context.passages.folder))),
            note=f"read, {seconds:.0f} s",
        )
    ]


def estimate_queries(context: EstimateContext) -> tuple[list[StageEstimate], QueryEstimate]:
    """Estimate the stages parsed-log, generations, parsed, parsed-free and queries."""
    recipe = context.recipe
    if context.passages is None or not recipe.generate.from_passages:
        return [], QueryEstimate(ZERO, None)
    free, others = _estimate_other_queries(context)
    if not recipe.generate.writes_queries:
        queries = make_bounded_amount(others)
        line = context.add_storage(StageEstimate("queries", queries, "queries"), "queries")
        return [*free, line], QueryEstimate(queries, None)
    writing = WritingSettings.select(recipe)
    plan = GenerationPlan(writing, context.passages)
    sample = sample_prompts(writing, open_method(writing), plan, context.llm, context.sample)
    draws = len(plan) * recipe.generate.best_of
    queries, parsed = make_bounded_amount(len(plan) + others), make_bounded_amount(draws)
    shards = make_exact_amount(len(plan.list_shards()))
    written = context.estimate_llm_stage(
        "generations",
        make_exact_amount(draws),
        "prompts",
        make_exact_amount(draws),
        sample.each,
        _describe_replies(sample),
    )
    replies = None if written.new_tokens is None else written.new_tokens.multiply(BYTES_A_TOKEN)
    lines = [
        replace(written, disk=replies, shards=shards),
        context.add_storage(StageEstimate("parsed", parsed, "queries"), "parsed", shards),
        *free,
        context.add_storage(
            _estimate_filtering(context, queries, parsed, sample),
            "queries",
            None if others else shards,
        ),
    ]
    return lines, QueryEstimate(queries, sample)


def _estimate_other_queries(context: EstimateContext) -> tuple[list[StageEstimate], int]:
    """Estimate queries of a log, and those that are taken from the passages, which take no model;
    and how many they are at most."""
    recipe = context.recipe
    numbers = {}
    if "log" in recipe.generate.methods:
        numbers["parsed-log"] = len(select_log_queries(LogSettings.select(recipe)).queries)
    if recipe.generate.free_methods:
        numbers["parsed-free"] = recipe.generate.free.queries
    lines = [
        context.add_storage(
            StageEstimate(name, make_bounded_amount(number), "queries", note="no LLM"), "parsed"
        )
        for name, number in numbers.items()
    ]
    return lines, sum(numbers.values())


def _describe_replies(sample: QuerySample) -> str:
    """Say how many of the sample's replies are unusable."""
    refused = sum(one.fault is not None for one in sample.completions)
    unfinished = sum(not one.finished for one in sample.completions) - refused
    counts = {"refused": refused, "unfinished": unfinished}
    parts = [f"{n} {what}" for what, n in counts.items() if n]
    return f"of {len(sample.completions)} asked: {', '.join(parts)}" if parts else ""


def _estimate_filtering(
    context: EstimateContext, queries: Amount, draws: Amount, sample: QuerySample
) -> StageEstimate:
    """Estimate filtering. Most filters take nothing; some retrieve, and draws may be compared by
    the LLM."""
    generate = context.recipe.generate
    filters, best_of = generate.filters, generate.best_of
    best_by = generate.best_by if best_of > 1 else None
    filtered = filters.round_trip is not None or filters.min_similarity is not None
    line = StageEstimate("queries", queries, "queries")
    if filtered or best_by in ("round_trip", "contrast"):
        line = context.estimate_retriever_stage("queries", queries, "queries", draws)
    if best_by not in ("ql", "contrast"):
        return line
    # The LLM that writes compares them.
    rule = context.recipe.relabel.model_copy(update={"llm": None})
    writing = context.recipe.model_copy(update={"relabel": rule})
    each = measure_judgements(replace(context, recipe=writing), "ql", sample, best_of)
    if each is None:
        return StageEstimate("queries", queries, "queries", seconds=UNKNOWN, note=CANNOT_JUDGE)
    pairs = draws.multiply(2 if best_by == "contrast" else 1)
    note = f"{line.note}; " * bool(line.note) + f"compares {draws.text} draws by {best_by}"
    judged = context.estimate_llm_stage("queries", queries, "queries", pairs, each, note)
    seconds = sum_amounts([line.seconds, judged.seconds])
    return replace(judged, seconds=seconds, disk=line.disk)


def estimate_examples(
    context: EstimateContext, sample: QuerySample | None
) -> tuple[list[StageEstimate], Amount]:
    """Estimate brainstormed and labelled examples, and how many of them there may be.

    Args:
        sample: tells the LLM's speed, where queries were written too.
    """
    generate = context.recipe.generate
    lines: list[StageEstimate] = []
    most = []
    if "brainstorm" in generate.methods:
        lines += _estimate_brainstorm(context, sample)
        most.append(make_bounded_amount(generate.brainstorm.examples))
    if "labelled" in generate.methods:
        most.append(make_bounded_amount(sum(of_set.examples for of_set in generate.labelled)))
        lines.append(StageEstimate("examples-labelled", most[-1], "examples"))
    return lines, sum_amounts(most) or ZERO


def _estimate_brainstorm(
    context: EstimateContext, sample: QuerySample | None
) -> list[StageEstimate]:
    """Estimate brainstorming by counting tokens, without an LLM: the second prompts hold the
    replies to the first, so replies are bounded by their greatest length."""
    recipe = context.recipe
    settings = recipe.generate.brainstorm
    check_languages(settings)
    chat = recipe.llm.prompt_format == "chat"
    listed = [group for group in settings.groups if EXAMPLE_SCHEMAS[group].task is None]
    lists = load_prompts(settings, recipe.folder, "tasks", listed)
    examples = load_prompts(settings, recipe.folder, "example", settings.groups)
    calls = [
        PromptRequest("", group, None, {"count": settings.tasks_per_call, "call": call})
        for group in listed
        for call in range(settings.calls)
    ]
    tasks = {g: [EXAMPLE_SCHEMAS[g].task or ""] for g in settings.groups}
    wanted = spread_examples(tasks, settings, recipe.seed)
    step_one = count_mean_tokens([render_request(call, lists[call.group], chat) for call in calls])
    step_two = count_mean_tokens([render_request(one, examples[one.group], chat) for one in wanted])
    longest = (settings.tasks_per_call + 1) * _LONGEST_TASK
    return [
        _estimate_bounded(context, "brainstorm-tasks", len(calls), step_one, longest, sample),
        StageEstimate(
            "tasks",
            make_bounded_amount(settings.tasks_per_call * len(calls) + len(EXAMPLE_SCHEMAS)),
            "tasks",
        ),
        _estimate_bounded(
            context,
            "brainstorm-generations",
            len(wanted),
            step_two + make_bounded_amount(_LONGEST_TASK),
            settings.max_new_tokens,
            sample,
        ),
        StageEstimate("examples-brainstorm", make_bounded_amount(len(wanted)), "examples"),
    ]


def _estimate_bounded(
    context: EstimateContext,
    stage: str,
    prompts: int,
    prompt: Amount,
    longest: int,
    sample: QuerySample | None,
) -> StageEstimate:
    seconds = UNKNOWN
    if sample is not None and sample.each.seconds != UNKNOWN and sample.each.new.low:
        seconds = make_bounded_amount(longest * sample.each.seconds.low / sample.each.new.low)
    number = make_exact_amount(prompts)
    each = UnitCost(prompt, make_bounded_amount(longest), seconds=seconds)
    return context.estimate_llm_stage(
        stage, number, "prompts", number, each, "replies at their longest"
    )
