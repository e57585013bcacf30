"""The lines of `distill generate`: passages, queries written for them, examples without them."""

from typing import NamedTuple

from distill.estimate.amounts import NOTHING, UNKNOWN, Amount, Line, at_most, exactly, total
from distill.estimate.context import Given
from distill.estimate.judging import judged
from distill.estimate.measure import Each, Sample, counted, sample_prompts
from distill.generate.brainstorm.examples import spread as spread_examples
from distill.generate.brainstorm.placeholders import check_languages
from distill.generate.brainstorm.schemas import FORMS
from distill.generate.brainstorm.writing import Request, load_prompts, render
from distill.generate.passages.fret import Plan, open_method

_LONGEST_TASK = 40
"""Tokens of a brainstormed task: none is known before."""
CANNOT_JUDGE = "this engine gives no log-probabilities: the run would end here"


class Queries(NamedTuple):
    """How many there may be, and the sample that was asked for; None without a corpus."""

    number: Amount
    sample: Sample | None


def passage_lines(given: Given) -> list[Line]:
    """The corpus is read by now: that costs nothing."""
    if given.passages is None:
        return []
    seconds = given.passages.manifest["seconds"]
    return [Line("passages", exactly(given.corpus_size), "passages", note=f"read, {seconds:.0f} s")]


def query_lines(given: Given) -> tuple[list[Line], Queries]:
    """generations, parsed and queries, of fret or custom."""
    recipe = given.recipe
    if given.passages is None or not recipe.generate.from_passages:
        return [], Queries(NOTHING, None)
    plan = Plan(recipe, given.passages)
    sample = sample_prompts(recipe, open_method(recipe), plan, given.llm, given.sample)
    draws, queries = len(plan) * recipe.generate.best_of, at_most(len(plan))
    number = exactly(draws)
    lines = [
        given.llm_line("generations", number, "prompts", number, sample.each, _replies(sample)),
        Line("parsed", at_most(draws), "queries"),
        _filter_line(given, queries, at_most(draws), sample),
    ]
    return lines, Queries(queries, sample)


def _replies(sample: Sample) -> str:
    """What there is to say against the sample's replies."""
    refused = sum(one.fault is not None for one in sample.written)
    unfinished = sum(not one.finished for one in sample.written) - refused
    counts = {"refused": refused, "unfinished": unfinished}
    said = [f"{n} {what}" for what, n in counts.items() if n]
    return f"of {len(sample.written)} asked: {', '.join(said)}" if said else ""


def _filter_line(given: Given, queries: Amount, draws: Amount, sample: Sample) -> Line:
    """Most filters take nothing; some retrieve, and draws may be compared by the LLM."""
    generate = given.recipe.generate
    filters, best_of = generate.filters, generate.best_of
    by_rank = best_of > 1 and generate.best_by == "round_trip"
    if by_rank or filters.round_trip is not None or filters.min_similarity is not None:
        return given.retriever_line("queries", queries, "queries", draws)
    if best_of == 1:
        return Line("queries", queries, "queries")
    each = judged(given, "ql", sample, best_of)
    if each is None:
        return Line("queries", queries, "queries", seconds=UNKNOWN, note=CANNOT_JUDGE)
    note = f"compares {draws.said} draws by ql"
    return given.llm_line("queries", queries, "queries", draws, each, note)


def example_lines(given: Given, written: Sample | None) -> tuple[list[Line], Amount]:
    """Brainstormed and labelled examples, and how many there may be of them.

    Args:
        written: tells the LLM's speed, where queries were written too.
    """
    generate = given.recipe.generate
    lines: list[Line] = []
    most = []
    if "brainstorm" in generate.methods:
        lines += _brainstorm_lines(given, written)
        most.append(at_most(generate.brainstorm.examples))
    if "labelled" in generate.methods:
        most.append(at_most(sum(of_set.examples for of_set in generate.labelled)))
        lines.append(Line("examples-labelled", most[-1], "examples"))
    return lines, total(most) or NOTHING


def _brainstorm_lines(given: Given, written: Sample | None) -> list[Line]:
    """Nothing is asked for them: their second prompts hold what the first brought. So tokens are
    counted, and replies bounded by their greatest length."""
    recipe = given.recipe
    settings = recipe.generate.brainstorm
    check_languages(settings)
    chat = recipe.llm.form == "chat"
    listed = [group for group in settings.groups if FORMS[group].task is None]
    lists = load_prompts(recipe, "tasks", listed)
    examples = load_prompts(recipe, "example", settings.groups)
    calls = [
        Request("", group, None, {"count": settings.tasks_per_call, "call": call})
        for group in listed
        for call in range(settings.calls)
    ]
    wanted = spread_examples({g: [FORMS[g].task or ""] for g in settings.groups}, recipe)
    step_one = counted([render(call, lists[call.group], chat) for call in calls])
    step_two = counted([render(one, examples[one.group], chat) for one in wanted])
    longest = (settings.tasks_per_call + 1) * _LONGEST_TASK
    return [
        _bounded(given, "brainstorm-tasks", len(calls), step_one, longest, written),
        Line("tasks", at_most(settings.tasks_per_call * len(calls) + len(FORMS)), "tasks"),
        _bounded(
            given,
            "brainstorm-generations",
            len(wanted),
            step_two + at_most(_LONGEST_TASK),
            settings.max_new_tokens,
            written,
        ),
        Line("examples-brainstorm", at_most(len(wanted)), "examples"),
    ]


def _bounded(
    given: Given, stage: str, prompts: int, prompt: Amount, longest: int, written: Sample | None
) -> Line:
    seconds = UNKNOWN
    if written is not None and written.each.seconds != UNKNOWN and written.each.new.low:
        seconds = at_most(longest * written.each.seconds.low / written.each.new.low)
    number = exactly(prompts)
    each = Each(prompt, at_most(longest), seconds=seconds)
    return given.llm_line(stage, number, "prompts", number, each, "replies at their longest")
