"""All stages of relabelling, from queries to examples: candidates, judgements, fusion, choice."""

from pathlib import Path
from typing import NamedTuple

from distill.llm.lazy import LazyLLM
from distill.recipe import Judge, Teacher
from distill.relabel.candidates import make_candidates
from distill.relabel.cascade import make_survivors
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.judge_lists import make_list_judgements
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.bm25 import make_bm25_judgements
from distill.relabel.rankers.passes import RankerSettings, list_passes
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
    rankers: RankerSettings,
    seed: int,
    passages: Stage,
    queries: Stage,
    llm: LazyLLM,
    judged: Path,
    teacher: Teacher | None = None,
) -> RelabelResult:
    """Run all stages of relabelling. Encoder, cross-encoder and LLM are in memory one at a time.

    Args:
        seed: draws the negatives, where they are drawn.
        judged: the SQLite file that caches judgements.
        teacher: embeds the passages, where the retriever is a query encoder of an earlier round.
            Soft scores `hybrid` are then that encoder's and BM25's, unless `relabel.similarity_by`
            says otherwise: the encoder has learnt words from BM25 that the teacher does not know,
            so its list is the better half of the next target, while BM25, which no round changes,
            keeps the rounds from learning their own mistakes alone.
    """
    labels, candidates = label_candidates(run, rankers, passages, queries, llm, judged, teacher)
    examples = make_examples(run, rankers.rule, seed, passages, queries, labels, candidates)
    return RelabelResult(labels, examples)


def label_candidates(
    run: Run,
    rankers: RankerSettings,
    passages: Stage,
    queries: Stage,
    llm: LazyLLM,
    judged: Path,
    teacher: Teacher | None = None,
) -> tuple[Stage, Stage]:
    """Retrieve each query's candidates, have them judged and fuse the ranks, as `relabel` does
    before it chooses; the labels and the candidates."""
    rule, retriever = rankers.rule, rankers.retriever
    if "dense" in retriever.sources:
        llm.make_room_for(retriever)
    candidates = make_candidates(run, retriever, rule, passages, queries, teacher)

    def judge(pairs: Stage, judges: list[Judge]) -> JudgementStages:
        stages: JudgementStages = {}
        # The cross-encoder first, while no LLM is in memory.
        for name in sorted(list_passes(rule, judges), key=lambda name: name != "cross_encoder"):
            if name == "cross_encoder":
                llm.make_room()
            if name == "bm25":
                stage = make_bm25_judgements(
                    run, retriever.bm25, rule.shard_size, passages, queries, pairs
                )
            elif name == "listwise":
                stage = make_list_judgements(run, rankers, passages, queries, pairs, llm, judged)
            else:
                stage = make_judgements(run, rankers, name, passages, queries, pairs, llm, judged)
            stages[name] = (stage, pairs)
        return stages

    judgements = judge(candidates, rule.first_judges)
    later = [ranker for ranker in rule.judges if ranker not in rule.first_judges]
    if later:
        first = {name: stage for name, (stage, _) in judgements.items()}
        survivors = make_survivors(run, rule, queries, candidates, first)
        judgements |= judge(survivors, later)
    return make_labels(run, rule, queries, candidates, judgements), candidates
