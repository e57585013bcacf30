"""BM25 and hybrids beside the models of a comparison: what a user has without training a model."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import need
from distill.evaluate.baselines.rankings import Rankings, cut_rankings, read_rankings
from distill.evaluate.baselines.searchers import BM25Search, FusedSearch
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.mteb_encoder import build_model_meta
from distill.evaluate.samples.items import ranks_documents
from distill.evaluate.score import TaskScore, get_rankings_path, score_search, score_tasks
from distill.evaluate.summary import BM25_ROLE, name_hybrid
from distill.recipe import BM25

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

FUSED_ROLES = ("base", "student", "teacher")
"""The models of a comparison whose rankings are fused with those of BM25."""


def takes_baselines(task: "AbsTask") -> bool:
    """Tell whether BM25 can be measured on a task: retrieval, where documents are ranked. Not where
    mteb passes over the first result, which is the query itself for a model: in a fusion another
    document may come first."""
    passes_over_first = getattr(task, "skip_first_result", False)
    return task.metadata.type == "Retrieval" and ranks_documents(task) and not passes_over_first


def score_baselines(
    models: Mapping[str, EvalModel],
    task: "AbsTask",
    out: Path,
    settings: BM25,
    keep_hybrids: bool = False,
) -> dict[str, TaskScore]:
    """Score BM25, and the hybrid of each model with it, on a retrieval task.

    Results lie where `score_tasks` has them, and what is there is not computed again.

    Args:
        models: by role; each one's rankings on the task must be there (`score_tasks` with
            `ranked`).
        settings: weights and language of BM25.
        keep_hybrids: whether the rankings of hybrids are stored as well.
    """
    bm25 = BM25Search(settings)
    scores = {BM25_ROLE: score_search(bm25, BM25_ROLE, task, out, ranked=True)}
    for role, search in _make_hybrids(models, task, out, bm25):
        scores[role] = score_search(search, role, task, out, ranked=keep_hybrids)
    return scores


def rank_systems(
    models: Mapping[str, EvalModel], task: "AbsTask", out: Path, settings: BM25, depth: int = 10
) -> dict[str, dict[str, list[str]]]:
    """Rank a task's documents by every model, by BM25, and by the hybrid of each with BM25.

    To pool documents for judging: write the queries and the corpus as a BEIR folder whose qrels
    hold any judged document a query (such as the passage that it was written from), open it with
    `load_task`, and take the union of the lists of each query. Vectors are stored in
    `out/vectors`, so that the same texts are not encoded again when the judged task is evaluated.

    >>> rank_systems(models, task, out, recipe.retriever.bm25)["bm25"]["q1"]  # doctest: +SKIP
    ['d17', 'd3', 'd8']

    Args:
        models: by name, such as `base`, `student`, `teacher`.
        task: a retrieval task with one split and one language. Queries without a judged document
            are not ranked.
        out: where results, vectors and rankings are stored, as by `score_tasks`.
        settings: weights and language of BM25.
        depth: how many documents of each query, at most 1,000.

    Returns:
        By system (`student`, `bm25`, `student + bm25`) and query: ids of documents, best first;
        fewer where BM25 finds fewer.
    """
    for model in models.values():
        score_tasks(model, [task], out, ranked=True)
    score_baselines(models, task, out, settings, keep_hybrids=True)
    bm25 = BM25Search(settings)
    metas = {role: build_model_meta(model) for role, model in models.items()}
    metas[BM25_ROLE] = bm25.mteb_model_meta
    metas |= {role: of.mteb_model_meta for role, of in _make_hybrids(models, task, out, bm25)}
    return {
        role: cut_rankings(read_rankings(get_rankings_path(out, task, meta)), depth)
        for role, meta in metas.items()
    }


def _make_hybrids(
    models: Mapping[str, EvalModel], task: "AbsTask", out: Path, bm25: BM25Search
) -> Iterator[tuple[str, FusedSearch]]:
    lexical = get_rankings_path(out, task, bm25.mteb_model_meta)
    cache = need("mteb.cache", "eval").ResultCache(out)
    for role, model in models.items():
        meta = build_model_meta(model)
        dense = get_rankings_path(out, task, meta)
        # Name, revision and what else sets the model's results apart from others.
        place = cache.get_task_result_path(task.metadata.name, meta).parent
        sources = {"dense": str(place.resolve().relative_to(out.resolve())), "bm25": bm25.revision}
        yield (
            name_hybrid(role),
            FusedSearch(f"{model.name}-bm25", sources, _ReadBoth(dense, lexical)),
        )


class _ReadBoth:
    """Reads the rankings in two files when it is called."""

    def __init__(self, dense: Path, lexical: Path) -> None:
        self._files = dense, lexical

    def __call__(self) -> Sequence[Rankings]:
        return [read_rankings(path) for path in self._files]
