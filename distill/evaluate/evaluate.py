"""Evaluate one model on tasks, with mteb. Results land as mteb's JSON with name and revision of
the model; beside them stands each query's own score, for intervals and tests."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from distill.errors import UserError, need
from distill.evaluate.contender import Contender, as_mteb_model, open_contender
from distill.run import read_json, write_json

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


@dataclass(frozen=True)
class TaskScore:
    """A model's score on a task, in [0, 1], the mean over the task's splits and languages.
    `by_query` is empty where mteb keeps no scores of single queries."""

    task: str
    metric: str
    score: float
    by_query: dict[str, float]


def evaluate_model(
    reference: str | Path,
    tasks: "Sequence[AbsTask]",
    out: Path,
    batch_size: int = 64,
    max_tokens: int | None = None,
    device: str | None = None,
) -> list[TaskScore]:
    """`score_tasks` for a model by its reference; with `max_tokens` it reads no more of a text."""
    return score_tasks(open_contender(reference, max_tokens, device), tasks, out, batch_size)


def score_tasks(
    contender: Contender, tasks: "Sequence[AbsTask]", out: Path, batch_size: int = 64
) -> list[TaskScore]:
    """The model's score on each task, in the order of `tasks`.

    Results lie in `out/results` as mteb's ResultCache has them, the scores of single queries in
    `out/queries`. What is there for the same revision of the model, the same data and the same
    mteb is read, not computed again.

    Raises:
        UserError: if a task reads the hub and the hub cannot be reached.
    """
    cache = need("mteb.cache", "eval").ResultCache(out)
    model = as_mteb_model(contender)
    scores = []
    for task in tasks:
        score = _stored(cache, task, model.mteb_model_meta)
        if score is None:
            begun = time.perf_counter()
            _compute(cache, task, model, batch_size)
            score = _stored(cache, task, model.mteb_model_meta)
            if score is None:
                raise AssertionError(f"mteb wrote no result of {task.metadata.name}")
            _say(f"{contender.name} on {score.task}", score, time.perf_counter() - begun)
        scores.append(score)
    return scores


def load_data(task: "AbsTask") -> None:
    """Read the task's data from the hub, unless a folder has filled it.

    Raises:
        UserError: if the hub cannot be reached, naming the way to do without.
    """
    if task.data_loaded:
        return
    not_found = need("datasets.exceptions", "eval").DatasetNotFoundError
    try:
        with _quiet():
            task.load_data()
    except (OSError, not_found) as fault:
        raise UserError(
            f"task {task.metadata.name}",
            f"its data cannot be read from the hub ({type(fault).__name__})",
            f"connect to the hub, or give --task-data a folder that holds {task.metadata.name}/",
        ) from fault


def _compute(cache: Any, task: "AbsTask", model: Any, batch_size: int) -> None:
    load_data(task)
    bars = {"show_progress_bar": sys.stderr.isatty()}
    with _queries_of(task) as by_query, _quiet():
        # Whether a result may be kept is decided in `_stored`: mteb does not look at the data's
        # revision where nothing is missing.
        need("mteb", "eval").evaluate(
            model,
            task,
            cache=cache,
            overwrite_strategy="always",
            co2_tracker=False,
            encode_kwargs={"batch_size": batch_size} | bars,
            **bars,
        )
    # The last file written: its presence says that mteb's is whole.
    path = _queries_path(cache, task, model.mteb_model_meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, _mark(task) | {"ndcg_at_10": by_query})


def _stored(cache: Any, task: "AbsTask", meta: Any) -> TaskScore | None:
    path = _queries_path(cache, task, meta)
    if not path.is_file():
        return None
    kept = read_json(path)
    by_query = kept.pop("ndcg_at_10")
    result = cache.load_task_result(task.metadata.name, meta)
    if kept != _mark(task) or result is None:
        return None
    metric = "ndcg_at_10"
    score = float(result.get_score(getter=lambda scores: scores[metric]))
    return TaskScore(task.metadata.name, metric, round(score, 6), by_query)


def _mark(task: "AbsTask") -> dict[str, str]:
    return {"dataset_revision": task.metadata.revision, "mteb": need("mteb", "eval").__version__}


def _queries_path(cache: Any, task: "AbsTask", meta: Any) -> Path:
    result: Path = cache.get_task_result_path(task.metadata.name, meta)
    return Path(cache.cache_path) / "queries" / result.relative_to(cache.cache_path / "results")


@contextmanager
def _queries_of(task: Any) -> Iterator[dict[str, float]]:
    """nDCG@10 of each query, keyed split/subset/id. mteb offers it to a retrieval task in one
    place, the hook for scores of the task's own."""
    by_query: dict[str, float] = {}
    hook = task.task_specific_scores

    def record(
        scores: dict[str, dict[str, float]],
        *args: Any,
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        for query, values in scores.items():
            by_query[f"{hf_split}/{hf_subset}/{query}"] = values["ndcg_cut_10"]
        own: dict[str, float] = hook(scores, *args, hf_split=hf_split, hf_subset=hf_subset)
        return own

    task.task_specific_scores = record
    try:
        yield by_query
    finally:
        del task.task_specific_scores


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars of datasets in a log, where each would be a hundred lines."""
    bars = need("datasets", "eval").utils.logging
    if sys.stderr.isatty() or not bars.is_progress_bar_enabled():
        yield
        return
    bars.disable_progress_bar()
    try:
        yield
    finally:
        bars.enable_progress_bar()


def _say(what: str, score: TaskScore, seconds: float) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"evaluation: {what}: {score.metric} {score.score:.4f}, {seconds:.0f} s"
    )
