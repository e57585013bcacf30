"""The stage `judge-evaluation`: the judge as a reranker of the retriever's first documents, beside
the retriever's own order."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.corpus.held_out import JUDGED
from distill.evaluate.baselines.rankings import (
    NO_DOCUMENT,
    Rankings,
    make_falling_scores,
    read_rankings,
)
from distill.evaluate.baselines.searchers import BM25Search, RetrievedScores, build_search_meta
from distill.evaluate.baselines.systems import takes_baselines
from distill.evaluate.models.eval_model import load_any_model
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.score import TaskScore, describe_task, get_rankings_path, score_search
from distill.evaluate.stage import RESULTS_FOLDER, load_recipe_tasks
from distill.evaluate.statistics.significance import compare_scores
from distill.files.atomic import write_json
from distill.recipe import DistilledJudge, Evaluate, Recipe, Retriever
from distill.retrieve.corpus_index import identify_retriever
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.runtime.progress import Progress, show_planned_stage
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.stage import fingerprint as hash_settings
from distill.tasks.texts import join_document
from distill.text.sanitize import sanitize_for_prompt

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

RESULTS_FILE = "reranking.json"
_NAME = "distill/judge-reranked"


class RerankedSearch:
    """The first documents of a ranking that is there, in the order of a cross-encoder; the others
    behind them as they were. mteb asks it as it does an index (its SearchProtocol).

    Args:
        revision: what the ranking and the reranker are, so that results of others are not taken for
            these.
        rankings: a file of rankings, read when the task is evaluated.
        depth: how many documents of each query are reordered.
    """

    def __init__(self, judge: CrossEncoderJudge, revision: str, rankings: Path, depth: int) -> None:
        self._judge = judge
        self._revision = revision
        self._file = rankings
        self._depth = depth
        self._rankings: Rankings = {}
        self._corpus: Any = None
        self._places: dict[str, int] = {}

    @property
    def mteb_model_meta(self) -> Any:
        """The model's description in mteb's form."""
        return build_search_meta(_NAME, self._revision)

    def index(self, corpus: Any, **kwargs: Any) -> None:
        """Note where the documents of one split and language are."""
        self._rankings = self._rankings or read_rankings(self._file)
        self._corpus = corpus
        self._places = {id_: place for place, id_ in enumerate(corpus["id"])}

    def search(
        self, queries: Any, *, hf_split: str, hf_subset: str, top_k: int, **kwargs: Any
    ) -> RetrievedScores:
        """Reorder the first documents of each query; equal scores keep the ranking's order."""
        ranked = self._rankings[f"{hf_split}/{hf_subset}"]
        results: RetrievedScores = {}
        with Progress("rerank", len(queries), "queries") as progress:
            for row in queries:
                documents = list(ranked[row["id"]])[:top_k]
                first, rest = documents[: self._depth], documents[self._depth :]
                scores = self._score(row["text"], first)
                order = np.argsort(-np.array(scores), kind="stable")
                reordered = [*(first[i] for i in order), *rest]
                results[row["id"]] = make_falling_scores(reordered) or {NO_DOCUMENT: 0.0}
                progress.advance()
        return results

    def _score(self, query: str, documents: Sequence[str]) -> list[float]:
        texts = [join_document(self._corpus[self._places[id_]]) for id_ in documents]
        judged = self._judge.judge([(sanitize_for_prompt(text), [query]) for text in texts])
        return [of_document[0][0] for of_document in judged]


def evaluate_judge(
    run: Run,
    recipe: Recipe,
    judge: Stage,
    held_out: Stage | None = None,
    known_item: Stage | None = None,
) -> Stage | None:
    """Compare the judge as a reranker with the retriever's own order on the recipe's retrieval
    tasks; None where it has none (of the task `judged` only models are compared, not rerankers).
    The retriever is the one that finds candidates: the recipe's embedding model, or BM25 where it
    has that source alone.

    `judge-evaluation/reranking.json` holds both scores of each task, and the difference with its
    95 % interval (`compare_scores`).
    """
    names = [name for name in recipe.evaluate.tasks if name != JUDGED]
    if not names and not recipe.evaluate.benchmarks:
        return None
    evaluate = recipe.evaluate.model_copy(update={"tasks": names})
    tasks = load_recipe_tasks(
        recipe.model_copy(update={"evaluate": evaluate}), held_out, None, known_item
    )
    tasks = [task for task in tasks if takes_baselines(task)]
    if not tasks:
        return None
    settings = fingerprint(recipe.judge, recipe.retriever, evaluate, tasks)
    own = [stage for stage in (held_out, known_item) if stage is not None]
    stage = run.open_stage("judge-evaluation", settings, [judge, *own], replaces=True)
    if stage.complete:
        return stage
    begun = time.perf_counter()
    with show_planned_stage("judge-evaluation"):
        reranker = CrossEncoderJudge(
            str(judge.folder), recipe.judge.max_tokens, recipe.retriever.device
        )
        out = run.folder / RESULTS_FOLDER
        retriever = _open_retriever(recipe.retriever, evaluate.instructions, out)
        results = _compare(reranker, recipe.judge.depth, retriever, tasks, out)
    write_json(stage.folder / RESULTS_FILE, results)
    stage.finish(seconds=time.perf_counter() - begun, rows=len(tasks), reranking=results)
    return stage


def fingerprint(
    judge: DistilledJudge, retriever: Retriever, evaluate: Evaluate, tasks: "Sequence[AbsTask]"
) -> dict[str, Any]:
    """Collect the settings that change how the judge reranks, and what it is compared with."""
    return {
        "tasks": {task.metadata.name: describe_task(task) for task in tasks},
        "depth": judge.depth,
        "max_tokens": judge.max_tokens,
        "retriever": identify_retriever(retriever),
        "instructions": evaluate.instructions,
        "version": 1,
    }


def _compare(
    reranker: CrossEncoderJudge,
    depth: int,
    retriever: tuple[str, Any],
    tasks: "Sequence[AbsTask]",
    out: Path,
) -> dict[str, Any]:
    before: list[TaskScore] = []
    after: list[TaskScore] = []
    name, search = retriever
    for task in tasks:
        before.append(score_search(search, name, task, out, ranked=True))
        rankings = get_rankings_path(out, task, search.mteb_model_meta)
        place = rankings.parent.resolve().relative_to(out.resolve())
        parts = {**reranker.identity, "depth": depth, "ranking": str(place)}
        mark = hash_settings("reranked", parts, {})
        reranked = RerankedSearch(reranker, mark, rankings, depth)
        after.append(score_search(reranked, f"{name}, reranked by the judge", task, out))
    differences = compare_scores(after, before)
    return {
        "depth": depth,
        "overall": differences["overall"],
        "tasks": {
            plain.task: {
                "metric": plain.metric,
                "retriever": plain.score,
                "reranked": ordered.score,
                **differences["tasks"][plain.task],
            }
            for plain, ordered in zip(before, after, strict=True)
        },
    }


def _open_retriever(retriever: Retriever, instructions: bool, out: Path) -> tuple[str, Any]:
    """Open the search that is reranked; its name, and what mteb asks."""
    if "dense" not in retriever.sources:
        return "BM25", BM25Search(retriever.bm25)
    model = load_any_model(retriever, retriever.model, instructions)
    return "retriever", wrap_for_mteb(model, out / "vectors")
