"""All stages of relabelling, from queries to examples: candidates, judgements, fusion, choice."""

from pathlib import Path
from typing import NamedTuple

from distill.llm.lazy import LazyLLM
from distill.recipe import Judge, Recipe, Teacher
from distill.relabel.candidates import make_candidates
from distill.relabel.cascade import make_survivors
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judge_lists import make_list_judgements
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.bm25 import make_bm25_judgements
from distill.relabel.rankers.passes import list_passes
from distill.store.run import Run
from distill.store.stage import Stage


class RelabelResult(NamedTuple):
    """The labels of all candidates, and the examples chosen among them."""

    labels: Stage
    examples: Stage


JudgementStages = dict[str, tuple[Stage, Stage]]
"""Name of a pass -> its judgements, and the candidates that it judged."""


def relabel(
    run: Run,
    recipe: Recipe,
    passages: Stage,
    queries: Stage,
    llm: LazyLLM,
    judged: Path,
    teacher: Teacher | None = None,
) -> RelabelResult:
    """Run all stages of relabelling. Encoder, cross-encoder and LLM are in memory one at a time.

    Args:
        judged: the SQLite file that caches judgements.
        teacher: embeds the passages, where the retriever is a query encoder of an earlier round.
            Soft scores `hybrid` are then that encoder's and BM25's, unless `relabel.similarity_by`
            says otherwise: the encoder has learnt words from BM25 that the teacher does not know,
            so its list is the better half of the next target, while BM25, which no round changes,
            keeps the rounds from learning their own mistakes alone.
    """
    labels, candidates = label_candidates(run, recipe, passages, queries, llm, judged, teacher)
    rule = recipe.relabel
    examples = make_examples(run, rule, recipe.seed, passages, queries, labels, candidates)
    return RelabelResult(labels, examples)


def label_candidates(
    run: Run,
    recipe: Recipe,
    passages: Stage,
    queries: Stage,
    llm: LazyLLM,
    judged: Path,
    teacher: Teacher | None = None,
) -> tuple[Stage, Stage]:
    """Retrieve each query's candidates, have them judged and fuse the ranks, as `relabel` does
    before it chooses; the labels and the candidates."""
    rule = recipe.relabel
    if "dense" in recipe.retriever.sources:
        llm.make_room_for(recipe.retriever)
    candidates = make_candidates(run, recipe.retriever, rule, passages, queries, teacher)

    def judge(pairs: Stage, judges: list[Judge]) -> JudgementStages:
        stages: JudgementStages = {}
        # The cross-encoder first, while no LLM is in memory.
        for name in sorted(list_passes(recipe, judges), key=lambda name: name != "cross_encoder"):
            if name == "cross_encoder":
                llm.make_room()
            if name == "bm25":
                stage = make_bm25_judgements(
                    run, recipe.retriever.bm25, rule.shard_size, passages, queries, pairs
                )
            elif name == "listwise":
                stage = make_list_judgements(run, recipe, passages, queries, pairs, llm, judged)
            else:
                stage = make_judgements(run, recipe, name, passages, queries, pairs, llm, judged)
            stages[name] = (stage, pairs)
        return stages

    judgements = judge(candidates, rule.first_judges)
    later = [ranker for ranker in rule.judges if ranker not in rule.first_judges]
    if later:
        first = {name: stage for name, (stage, _) in judgements.items()}
        survivors = make_survivors(run, rule, queries, candidates, first)
        judgements |= judge(survivors, later)
    return make_labels(run, rule, queries, candidates, judgements), candidates
