"""The lines of `distill relabel`: candidates, judgements, labels and examples."""

from distill.estimate.figures import UNKNOWN, Amount, Line, at_most
from distill.estimate.generation import CANNOT_JUDGE, Queries
from distill.estimate.given import Given
from distill.estimate.judging import judged
from distill.estimate.measure import Sample
from distill.recipe import Judge
from distill.relabel.rankings import Name, passes

_NO_LLM = "the cross-encoder's time is not estimated"
_LISTS = "a prompt for each window of passages, not estimated"


def relabelling_lines(given: Given, queries: Queries) -> list[Line]:
    """Nothing, for a recipe without queries."""
    number, sample = queries
    if sample is None or number.high is None:
        return []
    rule = given.recipe.relabel
    # The seed passage is judged even where retrieval missed it.
    pairs = at_most(number.high * min(rule.top_k + 1, given.corpus_size))
    lines = [given.retriever_line("candidates", pairs, "pairs", number)]
    survivors = at_most(number.high * min(rule.cascade.keep + 1, given.corpus_size))
    later: list[Judge] = [judge for judge in rule.judges if judge not in rule.first_judges]
    lines += [
        _judging(given, name, sample, pairs) for name in passes(given.recipe, rule.first_judges)
    ]
    lines += [_judging(given, name, sample, survivors) for name in passes(given.recipe, later)]
    return [*lines, Line("labels", pairs, "pairs"), Line("examples", number, "examples")]


def _judging(given: Given, name: Name, sample: Sample, pairs: Amount) -> Line:
    """One pass over so many pairs."""
    stage = f"judgements-{name}"
    if name in ("cross_encoder", "listwise"):
        note = _LISTS if name == "listwise" else _NO_LLM
        return Line(stage, pairs, "pairs", seconds=UNKNOWN, note=note)
    shared_by = max(1, round((pairs.high or 0) / max(1, given.corpus_size)))
    each = judged(given, name, sample, shared_by)
    if each is None:
        return Line(stage, pairs, "pairs", seconds=UNKNOWN, note=CANNOT_JUDGE)
    return given.llm_line(stage, pairs, "pairs", pairs, each)
