"""Relabelling from queries to examples: candidates, judgements, fusion, choice."""

from pathlib import Path
from typing import NamedTuple

from distill.llm.lazy import LazyLLM
from distill.recipe import Judge, Recipe
from distill.relabel.candidates import make_candidates
from distill.relabel.cascade import make_survivors
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judge_lists import make_list_judgements
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.bm25 import make_bm25_judgements
from distill.relabel.rankers.passes import list_passes
from distill.store.run import Run, Stage


class RelabelResult(NamedTuple):
    """What became of the queries: every judged candidate, and the examples chosen among them."""

    labels: Stage
    examples: Stage


JudgementStages = dict[str, tuple[Stage, Stage]]
"""By pass: its judgements, and the candidates that it judged."""


def relabel(
    run: Run,
    recipe: Recipe,
    passages: Stage,
    queries: Stage,
    llm: LazyLLM,
    judged: Path,
) -> RelabelResult:
    """All stages of relabelling. Of encoder, cross-encoder and LLM one at a time is in memory.

    Args:
        judged: the SQLite file of what was judged before.
    """
    rule = recipe.relabel
    if "dense" in recipe.retriever.sources:
        llm.make_room_for(recipe.retriever)
    candidates = make_candidates(run, recipe, passages, queries)

    def judge(of: Stage, judges: list[Judge]) -> JudgementStages:
        found: JudgementStages = {}
        # The cross-encoder first, where nothing else has to go for it.
        for name in sorted(list_passes(recipe, judges), key=lambda name: name != "cross_encoder"):
            if name == "cross_encoder":
                llm.make_room()
            if name == "bm25":
                made = make_bm25_judgements(run, recipe, passages, queries, of)
            elif name == "listwise":
                made = make_list_judgements(run, recipe, passages, queries, of, llm, judged)
            else:
                made = make_judgements(run, recipe, name, passages, queries, of, llm, judged)
            found[name] = (made, of)
        return found

    judgements = judge(candidates, rule.first_judges)
    later = [judge_ for judge_ in rule.judges if judge_ not in rule.first_judges]
    if later:
        first = {name: made for name, (made, _) in judgements.items()}
        survivors = make_survivors(run, recipe, queries, candidates, first)
        judgements |= judge(survivors, later)
    labels = make_labels(run, recipe, candidates, judgements)
    examples = make_examples(run, recipe, passages, queries, labels, candidates)
    return RelabelResult(labels, examples)
