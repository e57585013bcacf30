"""The lines of `distill relabel`: candidates, judgements, labels and examples."""

from distill.estimate.figures import UNKNOWN, Line, at_most
from distill.estimate.generation import CANNOT_JUDGE, Queries
from distill.estimate.given import Given
from distill.estimate.judging import judged
from distill.relabel.judge import JUDGES


def relabelling_lines(given: Given, queries: Queries) -> list[Line]:
    """Nothing, for a recipe without queries."""
    number, sample = queries
    if sample is None or number.high is None:
        return []
    rule = given.recipe.relabel
    # The seed passage is judged even where retrieval missed it.
    pairs = at_most(number.high * min(rule.top_k + 1, given.corpus_size))
    lines = [given.retriever_line("candidates", pairs, "pairs", number)]
    shared_by = max(1, round((pairs.high or 0) / max(1, given.corpus_size)))
    for ranker in JUDGES:
        if ranker not in rule.rankers:
            continue
        each, stage = judged(given, ranker, sample, shared_by), f"judgements-{ranker}"
        if each is None:
            lines.append(Line(stage, pairs, "pairs", seconds=UNKNOWN, note=CANNOT_JUDGE))
        else:
            lines.append(given.llm_line(stage, pairs, "pairs", pairs, each))
    return [*lines, Line("labels", pairs, "pairs"), Line("examples", number, "examples")]
