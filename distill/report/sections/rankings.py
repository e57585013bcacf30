"""The documents that a model puts first for a few queries of a task, searched as the evaluation
searches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import need
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.text.sanitize import sanitize_for_terminal

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_SHOWN = 5
_SEARCHED = 100
_EXCERPT = 240


def find_rankings(
    model: EvalModel, task: "AbsTask", items: Sequence[str], vectors: Path
) -> dict[str, Any]:
    """Return, by item: `top`, the first documents with title, text, relevance and similarity, and
    `first_relevant`, the rank of the best judged one, None beyond the first hundred.

    Args:
        items: keys "split/subset/query_id" of the task's evaluation.
        vectors: where the evaluation keeps them; what is missing there is encoded into it, which
            takes minutes for a large corpus.
    """
    rankings: dict[str, Any] = {}
    for split, subset in dict.fromkeys(split_item(item)[:2] for item in items):
        query_ids = {i: split_item(i)[2] for i in items if split_item(i)[:2] == (split, subset)}
        data = _get_split(task, split, subset)
        results = _search(model, task, vectors, data, split, subset, set(query_ids.values()))
        ids = {row_id: number for number, row_id in enumerate(data["corpus"]["id"])}
        for item, query_id in query_ids.items():
            judged = data["relevant_docs"][query_id]
            ranked = sorted(results[query_id].items(), key=lambda pair: (-pair[1], pair[0]))
            top = ranked[:_SHOWN]
            rankings[item] = {
                "top": [
                    _describe_document(data["corpus"][ids[d]], judged, score) for d, score in top
                ],
                "first_relevant": _find_first_relevant([d for d, _ in ranked], judged),
            }
    return rankings


def find_query_texts(task: "AbsTask", items: Sequence[str]) -> dict[str, str]:
    """Return the text of each item's query."""
    texts: dict[str, str] = {}
    for split, subset in dict.fromkeys(split_item(item)[:2] for item in items):
        queries = _get_split(task, split, subset)["queries"]
        by_id = dict(zip(queries["id"], queries["text"], strict=True))
        texts |= {
            i: sanitize_for_terminal(by_id[split_item(i)[2]])
            for i in items
            if split_item(i)[:2] == (split, subset)
        }
    return texts


def split_item(item: str) -> tuple[str, str, str]:
    """Split, subset and query id; an id may hold a slash."""
    split, subset, query_id = item.split("/", 2)
    return split, subset, query_id


def _get_split(task: "AbsTask", split: str, subset: str) -> Any:
    dataset: Any = task.dataset
    return dataset[subset][split]


def _search(
    model: EvalModel,
    task: "AbsTask",
    vectors: Path,
    data: Any,
    split: str,
    subset: str,
    wanted: set[str],
) -> dict[str, dict[str, float]]:
    searcher = need("mteb.models.search_wrappers", "eval").SearchEncoderWrapper(
        wrap_for_mteb(model, vectors)
    )
    queries = data["queries"]
    chosen = [number for number, id_ in enumerate(queries["id"]) if id_ in wanted]
    where: dict[str, Any] = {
        "task_metadata": task.metadata,
        "hf_split": split,
        "hf_subset": subset,
        "encode_kwargs": {"batch_size": 32, "show_progress_bar": False},
    }
    searcher.index(data["corpus"], **where)
    results: dict[str, dict[str, float]] = searcher.search(
        queries.select(chosen), top_k=_SEARCHED, top_ranked=data.get("top_ranked"), **where
    )
    return results


def _describe_document(
    row: Mapping[str, Any], judged: Mapping[str, int], score: float
) -> dict[str, Any]:
    text = " ".join(sanitize_for_terminal(row["text"]).split())
    return {
        "id": row["id"],
        "title": sanitize_for_terminal(row.get("title") or ""),
        "text": text if len(text) <= _EXCERPT else text[:_EXCERPT].rstrip() + "…",
        "relevance": judged.get(row["id"], 0),
        "similarity": round(float(score), 4),
    }


def _find_first_relevant(ranked: Sequence[str], judged: Mapping[str, int]) -> int | None:
    return next((rank for rank, d in enumerate(ranked, start=1) if judged.get(d, 0) > 0), None)
