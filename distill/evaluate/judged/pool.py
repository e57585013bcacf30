"""The stage `judged`: a retrieval task of the run's own, frozen as a BEIR folder. Its answers are
the first passages of every system of the first comparison, judged by the LLM, so that later
students are measured on the same."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill.evaluate.baselines.systems import rank_systems
from distill.evaluate.judged.collection import (
    JudgedCollection,
    read_collection,
    write_collection,
)
from distill.evaluate.judged.grades import PairGrades, grade_pairs
from distill.evaluate.judged.judge import (
    JudgedPair,
    LLMJudge,
    judge_pairs,
    open_judge,
)
from distill.evaluate.models.eval_model import EvalModel
from distill.files.atomic import read_json, write_json
from distill.llm.protocol import LLM
from distill.recipe import BM25, JudgedPool, LanguageModel, Recipe
from distill.runtime.devices import free_memory
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import join_passage
from distill.tasks import load_task
from distill.tasks.beir_folder import write_json_lines

NAME = "judged"
JUDGEMENTS_FILE = "judgements.jsonl"
_POOL_FILE = "pool.json"
_SEEDS = "held-out-seeds"
SystemRankings = dict[str, dict[str, list[str]]]
"""By system and query: ids of passages, best first."""


class PoolSettings(NamedTuple):
    """The settings of the pool: its section of the recipe, the language model that judges if that
    section names no other, the BM25 that is one of the systems, the seed, and the folder that
    prompts are named relative to."""

    pool: JudgedPool
    llm: LanguageModel
    bm25: BM25
    seed: int
    folder: Path

    @classmethod
    def select(cls, recipe: Recipe) -> "PoolSettings":
        """Select them of a recipe."""
        pool, bm25 = recipe.evaluate.judged, recipe.retriever.bm25
        return cls(pool, recipe.llm, bm25, recipe.seed, recipe.folder)


class PoolInputs(NamedTuple):
    """The stages that the pool is made from."""

    passages: Stage
    held_out: Stage
    queries: Stage


def make_judged_pool(
    run: Run,
    settings: PoolSettings,
    inputs: PoolInputs,
    models: Callable[[], Mapping[str, EvalModel]],
    llm: Callable[[], LLM],
    results: Path,
) -> Stage:
    """Pool the first `evaluate.judged.depth` passages of every system for each held-out query, have
    the LLM judge them, and write corpus.jsonl, queries.jsonl, qrels/test.tsv and judgements.jsonl.

    The student is no part of the fingerprint: one that is trained later is measured on the pool
    that is there.

    Args:
        models: loads the models of the comparison, by role; called if the pool is not there.
        results: the folder in which the models' vectors and rankings are kept.

    Raises:
        UserError: if the LLM judges all pairs alike, or none relevant.
    """
    judge = open_judge(settings.pool, settings.llm, settings.folder)
    stage = run.open_stage(NAME, fingerprint(settings, judge), inputs)
    if stage.complete:
        return stage
    collection = read_collection(settings.pool.passages, settings.seed, *inputs)
    pool = stage.metadata_dir / _POOL_FILE
    if not pool.exists():
        write_json(pool, _rank_systems(settings, collection, models(), results))
        free_memory()  # a worker of this machine may load the LLM
    rankings: SystemRankings = read_json(pool)
    pairs = list_pairs(collection, rankings)
    cache = run.folder / "judgements.sqlite"
    relevance = judge_pairs(judge, settings.seed, pairs, llm, cache, stage)
    scored = [(p, s) for p, s in zip(pairs, relevance, strict=True) if not math.isnan(s)]
    seeds = {(row["query_id"], row["seed_id"]) for row in collection.queries}
    graded = grade_pairs(
        [score for _, score in scored],
        [(pair.query_id, pair.passage_id) in seeds for pair, _ in scored],
        judge.form,
        judge.settings.model,
    )
    grades = {
        (pair.query_id, pair.passage_id): grade
        for (pair, _), grade in zip(scored, graded.grades, strict=True)
    }
    write_collection(stage.folder, collection, grades)
    _write_judgements(stage, judge, scored, graded)
    stage.finish(
        [_POOL_FILE],
        rows=len(pairs),
        counts={
            "queries": len(collection.queries),
            "passages": len(collection.passages),
            "pairs": len(pairs),
            "without a usable score": len(pairs) - len(scored),
        },
        relative_grades=graded.is_relative,
        judge=judge.settings.model,
        systems=list(rankings),
    )
    return stage


def fingerprint(settings: PoolSettings, judge: LLMJudge) -> dict[str, Any]:
    """Collect what changes which pairs are pooled, and how they are judged."""
    return {
        **judge.identity,
        "depth": settings.pool.depth,
        "passages": settings.pool.passages,
        "bm25": settings.bm25.model_dump(),
        "seed": settings.seed,
    }


def list_pairs(collection: JudgedCollection, rankings: SystemRankings) -> list[JudgedPair]:
    """List the pool's pairs, each once, by query and id: nothing of who found them is left."""
    texts = {row["passage_id"]: join_passage(row) for row in collection.passages}
    return [
        JudgedPair(query["query_id"], passage_id, query["query"], texts[passage_id])
        for query in collection.queries
        for passage_id in sorted(
            {id_ for lists in rankings.values() for id_ in lists.get(query["query_id"], [])}
        )
    ]


def _rank_systems(
    settings: PoolSettings,
    collection: JudgedCollection,
    models: Mapping[str, EvalModel],
    results: Path,
) -> SystemRankings:
    """Rank the collection by every system, as a task whose answers are the seed passages. A query
    of a log has none, and the first passage of all stands in: without one it would not be ranked.
    """
    folder = results / "pooling" / _SEEDS
    any_id = collection.passages[0]["passage_id"]
    seeds = {(row["query_id"], row["seed_id"] or any_id): 1 for row in collection.queries}
    write_collection(folder, collection, seeds)
    task = load_task(_SEEDS, folder.parent)
    return rank_systems(models, task, results, settings.bm25, settings.pool.depth)


def _write_judgements(
    stage: Stage, judge: LLMJudge, scored: list[tuple[JudgedPair, float]], graded: PairGrades
) -> None:
    write_json_lines(
        stage.folder / JUDGEMENTS_FILE,
        (
            {
                "query_id": pair.query_id,
                "passage_id": pair.passage_id,
                "relevance": round(score, 6),
                "grade": grade,
                "relevant": relevant,
                "judge": judge.settings.model,
                "prompt": judge.prompt_hash,
            }
            for (pair, score), grade, relevant in zip(
                scored, graded.grades, graded.relevant, strict=True
            )
        ),
    )
