"""Evaluate one model on tasks, with mteb. Results land as mteb's JSON with name and revision of
the model; beside them stands each item's own score, for intervals and tests."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from distill.errors import UserError, need
from distill.evaluate.baselines.rankings import Rankings, has_rankings, write_rankings
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.samples.answer_groups import list_answer_groups
from distill.evaluate.samples.collect import collect_samples, needs_predictions
from distill.evaluate.samples.items import ranks_documents, record_queries
from distill.evaluate.samples.labels import Labels
from distill.evaluate.statistics.score_interval import estimate_score_interval
from distill.files.atomic import read_json, write_json
from distill.runtime.progress import show_activity
from distill.tasks.data import keep_draws, load_data, silence_libraries

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_logger = logging.getLogger(__name__)
MEASURES = ("recall_at_10", "recall_at_100", "mrr_at_10", "map_at_10")
"""Beside a ranking's main score."""
_ADDED_DEPTH = 50
"""mteb measures a ranking at 20 and at 100, and nowhere between."""
RECALL_DEPTHS = (1, 3, 5, 10, 20, _ADDED_DEPTH, 100)
"""Those up to 100 at which mteb measures it, and the added one."""
DETAILS = (
    "hit_rate_at_1",
    "mrr_at_10",
    "map_at_1000",
    *(f"recall_at_{depth}" for depth in RECALL_DEPTHS),
)
"""What a report tells of rankings in a table of its own."""
FORMAT_VERSION = 5
"""What is kept beside mteb's results; what an earlier distill kept is not enough."""


class MtebModel(Protocol):
    """A model that mteb can evaluate: one of its EncoderProtocol or SearchProtocol."""

    @property
    def mteb_model_meta(self) -> Any:
        """The model's description in mteb's form."""


@dataclass(frozen=True)
class TaskScore:
    """A model's score on a task in its main metric, the mean over the task's splits and languages:
    in [0, 1], or in [-1, 1] where it is a correlation. `category` is mteb's word (`Retrieval`,
    `STS`). `by_item` (split/subset/id -> score of a query or text in the same metric) is empty
    where the score is no mean over items. `measures` are other scores of a task that ranks
    documents, by mteb's names (`MEASURES`), and `details` (`DETAILS`) alike. `groups` names, of
    queries that ask for the same documents, the first (`list_answer_groups`)."""

    task: str
    category: str
    metric: str
    score: float
    by_item: dict[str, float]
    pairs: dict[str, tuple[float, float]] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    resamples: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the score over the task's queries or texts, by bootstrap; None where
        no scores of single items are kept.

        It says how far the score may be from that on all queries of this kind. Two models are told
        apart by their paired difference (`compare`), which is known much better."""
        return estimate_score_interval(self.task, self.by_item, self.groups)

    @property
    def items(self) -> int | None:
        """Single items that the score is known of; None where none are kept."""
        kept: list[Mapping[str, Any]] = [self.by_item, self.pairs, self.labels, self.resamples]
        return next((len(values) for values in kept if values), None)


def score_tasks(
    model: EvalModel, tasks: "Sequence[AbsTask]", out: Path, ranked: bool = False
) -> list[TaskScore]:
    """Return the model's score on each task, in the order of `tasks`.

    Results lie in `out/results` as mteb's ResultCache has them, the scores of single items in
    `out/queries`, the model's vectors in `out/vectors`. What is there for the same revision of the
    model, the same data and the same mteb is read, not computed again.

    Args:
        ranked: whether each query's documents are kept as well, in `out/rankings`, where
            `get_rankings_path` says; where they are not there yet, the task is evaluated again
            from the stored vectors.

    Raises:
        UserError: if a task reads the hub and the hub cannot be reached.
    """
    encoder = wrap_for_mteb(model, out / "vectors")
    return [score_search(encoder, model.name, task, out, ranked) for task in tasks]


def score_search(
    search: MtebModel, name: str, task: "AbsTask", out: Path, ranked: bool = False
) -> TaskScore:
    """Score anything that mteb can ask, an encoder or a search, on a task, as `score_tasks` does.

    Args:
        name: what the log calls it.
    """
    cache, meta = need("mteb.cache", "eval").ResultCache(out), search.mteb_model_meta
    ranked = ranked and ranks_documents(task)
    score = _read_stored_score(cache, task, meta, ranked)
    if score is None:
        begun = time.perf_counter()
        with show_activity(f"evaluating {name} on {task.metadata.name}"):
            _evaluate_task(cache, task, search, ranked)
        score = _read_stored_score(cache, task, meta, ranked)
        if score is None:
            raise AssertionError(f"mteb wrote no result of {task.metadata.name}")
        _log_score(f"{name} on {score.task}", score, time.perf_counter() - begun)
    return score


def get_rankings_path(out: Path, task: "AbsTask", meta: Any) -> Path:
    """Get the file with a model's rankings on a task, which `read_rankings` reads."""
    cache = need("mteb.cache", "eval").ResultCache(out)
    return _get_path_beside(cache, task, meta, "rankings").with_suffix(".parquet")


def _evaluate_task(cache: Any, task: Any, search: MtebModel, ranked: bool) -> None:
    load_data(task)
    if ranks_documents(task) and max(task.k_values) > _ADDED_DEPTH:
        task.k_values = sorted({*task.k_values, _ADDED_DEPTH})
    meta = search.mteb_model_meta
    bars = {"show_progress_bar": False}
    rankings: Rankings | None = {} if ranked else None
    with (
        record_queries(task, rankings) as by_query,
        TemporaryDirectory() as predictions,
        keep_draws(task),
        silence_libraries(),
    ):
        # `_read_stored_score` decides whether a result may be used again: mteb does not look at the
        # data's revision where nothing is missing.
        need("mteb", "eval").evaluate(
            search,
            task,
            cache=cache,
            overwrite_strategy="always",
            prediction_folder=predictions if needs_predictions(task) else None,
            co2_tracker=False,
            encode_kwargs=bars,
            **bars,
        )
        result = cache.load_task_result(task.metadata.name, meta)
        samples = collect_samples(task, result, Path(predictions), by_query)
    if rankings is not None:
        path = get_rankings_path(Path(cache.cache_path), task, meta)
        write_rankings(path, rankings, describe_task(task))
    # The last file written: its presence says that the others are whole.
    path = _get_path_beside(cache, task, meta, "queries")
    path.parent.mkdir(parents=True, exist_ok=True)
    groups = list_answer_groups(task) if ranks_documents(task) else {}
    write_json(path, describe_task(task) | samples | ({"groups": groups} if groups else {}))


def _read_stored_score(cache: Any, task: "AbsTask", meta: Any, ranked: bool) -> TaskScore | None:
    path = _get_path_beside(cache, task, meta, "queries")
    if not path.is_file():
        return None
    rankings = get_rankings_path(Path(cache.cache_path), task, meta)
    if ranked and not has_rankings(rankings, describe_task(task)):
        return None
    try:
        stored = dict(read_json(path))
    except (UserError, TypeError, ValueError):
        _logger.warning("%s is damaged: the task is evaluated again", path)
        return None
    by_item, resamples = stored.pop("by_item", {}), stored.pop("resamples", {})
    pairs = {pair: (gold, predicted) for pair, (gold, predicted) in stored.pop("pairs", {}).items()}
    labels = {text: (gold, given) for text, (gold, given) in stored.pop("labels", {}).items()}
    groups = stored.pop("groups", {})
    if task.data_loaded and ranks_documents(task):
        groups = list_answer_groups(task)  # results of earlier versions have none
    result = cache.load_task_result(task.metadata.name, meta)
    if stored != describe_task(task) or result is None:
        return None
    score = round(float(result.get_score()), 6)
    category, metric = task.metadata.type, task.metadata.main_score
    name, measures = task.metadata.name, _read_measures(task, result, MEASURES)
    details = _read_measures(task, result, DETAILS)
    return TaskScore(
        name, category, metric, score, by_item, pairs, labels, resamples, measures, details, groups
    )


def _read_measures(task: "AbsTask", result: Any, measures: Sequence[str]) -> dict[str, float]:
    """Read the mean over subsets of each split's, as mteb makes its main score."""
    if not ranks_documents(task):
        return {}
    known = [subset for subsets in result.scores.values() for subset in subsets]
    return {
        measure: round(mean(float(subset[measure]) for subset in known), 6)
        for measure in measures
        if all(measure in subset for subset in known)
    }


def describe_task(task: "AbsTask") -> dict[str, Any]:
    """Describe what a result was computed of; a benchmark may choose splits and languages of a
    task."""
    return {
        "metric": task.metadata.main_score,
        "dataset_revision": task.metadata.revision,
        "splits": list(task.eval_splits),
        "subsets": list(task.hf_subsets),
        "mteb": need("mteb", "eval").__version__,
        "kept": FORMAT_VERSION,
    }


def _get_path_beside(cache: Any, task: "AbsTask", meta: Any, folder: str) -> Path:
    """Return the place in a folder beside mteb's results that the task's result has in theirs."""
    result: Path = cache.get_task_result_path(task.metadata.name, meta)
    return Path(cache.cache_path) / folder / result.relative_to(cache.cache_path / "results")


def _log_score(what: str, score: TaskScore, seconds: float) -> None:
    _logger.info("evaluation: %s: %s %.4f, %.0f s", what, score.metric, score.score, seconds)
