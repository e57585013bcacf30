"""Base models, student and teacher on the same tasks, their speed and size: the summary."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from distill.errors import UserError, need
from distill.evaluate.baselines.systems import FUSED_ROLES, score_baselines, takes_baselines
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.published import PublishedScores
from distill.evaluate.models.variants import ASYMMETRIC, make_asymmetric, make_variants
from distill.evaluate.samples.items import ranks_documents
from distill.evaluate.samples.query_groups import (
    ItemLengths,
    QueryKinds,
    RoleValues,
    group_queries,
)
from distill.evaluate.score import TaskScore, score_tasks
from distill.evaluate.speed import Speed, measure_speed
from distill.evaluate.statistics.item_parts import AnswerGroups
from distill.evaluate.statistics.retention import estimate_retention
from distill.evaluate.statistics.significance import compare_scores
from distill.evaluate.summary import (
    GROUPS_FILE,
    ITEMS_FILE,
    SCHEMA,
    Breakdown,
    ModelFigures,
    Summary,
    TaskFigures,
    average_by_category,
    choose_unaveraged,
    format_role,
    list_averaged_tasks,
    list_bases,
    name_difference,
)
from distill.evaluate.verdict import MARGIN, build_verdict, list_pairs
from distill.files.atomic import write_json
from distill.recipe import BM25
from distill.tasks import choose_document_texts
from distill.tasks.data import load_data
from distill.tasks.layout import get_hub_dataset
from distill.tasks.texts import iterate_queries, iterate_relevant_documents
from distill.text.words import count_words

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from distill.evaluate.models.quantize import Precision

ScoresByRole = dict[str, list[TaskScore]]
"""By role."""
LengthsByTask = dict[str, ItemLengths]

INDEXED_VECTORS = 1_000_000


def compare(
    models: Mapping[str, EvalModel],
    tasks: "Sequence[AbsTask]",
    out: Path,
    variants: Mapping[str, EvalModel] | None = None,
    published: Mapping[str, PublishedScores] | None = None,
    speed_texts: int = 256,
    rounds: int = 3,
    evaluated: Path | None = None,
    baselines: BM25 | None = None,
    margin: float = MARGIN,
    kinds: QueryKinds | None = None,
) -> Summary:
    """Evaluate every model on every task, and measure their speed on the same documents.

    Every task is the same object for all: the same data, splits, languages and mteb.

    Args:
        models: by role: `student`, and any of `teacher`, `base`, `base-2`, ...
        out: gets the values of single items, `items.json`, as {task: {item: {role: value}}}, and
            `answer-groups.json`, the queries that ask for the same documents (`list_answer_groups`)
            by task.
        variants: of the student, by the name of their row (`make_student_variants`). Their speed
            is the student's, whose vectors they are made of; for documents that the teacher embeds
            it is the teacher's.
        published: results of others (`read_published`).
        speed_texts: documents of the first task on which texts a second are measured; 0: none are.
            A query encoder over another model's documents is timed on queries alone, and has that
            model's texts a second, none where a server embeds them.
        evaluated: where mteb's results and the vectors are kept, and not computed again where they
            are there; by default `out`.
        baselines: settings of BM25, which then is measured on retrieval tasks, alone and fused with
            base, student and teacher. None leaves these rows out.
        margin: the difference of scores that does not matter (`build_verdict`).
        kinds: of queries, by which their scores are broken down as well.

    Raises:
        UserError: without a task or a student, for a margin outside (0, 1), where a published model
            has the name of a role, or where a task's data cannot be read.
    """
    if not tasks:
        raise UserError("compare", "no task is named", "name at least one, for example SciFact")
    if "student" not in models:
        raise UserError("compare", "no student is named", "give the student's folder or hub id")
    if not 0 < margin < 1:
        raise UserError("compare", f"the margin is {margin}", "give one between 0 and 1: 0.01")
    variants, published = variants or {}, published or {}
    own = _order_roles(models, variants)
    _check_names(own, published)
    of_folder = [task.data_loaded for task in tasks]
    load_data(tasks[0])
    texts = choose_document_texts(tasks[0], speed_texts) if speed_texts else []
    scores, lengths = _score_all(own, tasks, of_folder, evaluated or out, baselines)
    encoders = {
        role: model.encode
        for role, model in own.items()
        if model.model is not None and role not in variants
    }
    alone = [role for role in encoders if own[role].documents is not None]
    speed = measure_speed(encoders, texts, rounds, alone) if speed_texts else {}
    items, groups = _collect_items(scores), _collect_groups(scores)
    write_json(out / ITEMS_FILE, items)
    write_json(out / GROUPS_FILE, groups)
    summary = _summarize(own, variants, published, scores, speed, _describe_tasks(tasks))
    summary["breakdowns"] = _group_scores(items, lengths, kinds or {}, groups)
    summary["retention"] = estimate_retention(items, list_averaged_tasks(summary), groups)
    queries_alone = models["student"].documents is not None
    summary["verdict"] = build_verdict(summary, margin, queries_alone)
    return summary


def make_student_variants(
    models: Mapping[str, EvalModel],
    widths: Sequence[int] = (),
    precisions: "Sequence[Precision]" = (),
    with_teacher: bool = False,
) -> dict[str, EvalModel]:
    """Make the student's variants by the name of their row: `student@128`, `student int8`, and
    `with_teacher` the student's queries over the teacher's documents.

    Raises:
        UserError: for what these models cannot be cut or combined to.
    """
    variants = make_variants(models["student"], widths, precisions)
    if not with_teacher:
        return variants
    if "teacher" not in models:
        raise UserError(
            "compare", "the asymmetric mode has no teacher for the documents", "name a teacher"
        )
    return variants | {ASYMMETRIC: make_asymmetric(models["student"], models["teacher"])}


def _order_roles(
    models: Mapping[str, EvalModel], variants: Mapping[str, EvalModel]
) -> dict[str, EvalModel]:
    """Order the roles: base models, the student, its variants, the teacher."""
    roles = sorted(list_bases(models), key=lambda role: (len(role), role))
    ordered = {role: models[role] for role in [*roles, "student"]} | dict(variants)
    return ordered | ({"teacher": models["teacher"]} if "teacher" in models else {})


def _check_names(own: Mapping[str, EvalModel], published: Mapping[str, PublishedScores]) -> None:
    for name in own.keys() & published.keys():
        raise UserError(
            f"published results of {name!r}",
            f"would replace this comparison's own {name}",
            "give the folder above them a model's name, OWNER__MODEL/REVISION, or leave them out",
        )


def _score_all(
    models: Mapping[str, EvalModel],
    tasks: "Sequence[AbsTask]",
    of_folder: Sequence[bool],
    out: Path,
    baselines: BM25 | None,
) -> tuple[ScoresByRole, LengthsByTask]:
    """Score all models task by task: the data of one task is in memory at a time, but for what a
    folder has filled. Lengths are of tasks whose data had to be read."""
    scores: ScoresByRole = {role: [] for role in models}
    lengths: LengthsByTask = {}
    fused = {role: models[role] for role in FUSED_ROLES if role in models}
    for task, filled in zip(tasks, of_folder, strict=True):
        beside = baselines if takes_baselines(task) else None
        for role, model in models.items():
            ranked = beside is not None and role in fused
            scores[role] += score_tasks(model, [task], out, ranked)
        if beside is not None:
            for role, score in score_baselines(fused, task, out, beside).items():
                scores.setdefault(role, []).append(score)
        if task.data_loaded and ranks_documents(task):
            lengths[task.metadata.name] = _measure_lengths(task)
        if task.data_loaded and not filled:
            task.unload_data()
    return scores, lengths


def _measure_lengths(task: "AbsTask") -> ItemLengths:
    """Measure the queries of a task that ranks documents, and what is relevant to them."""
    relevant = iterate_relevant_documents(task)
    return ItemLengths(
        {item: count_words(text) for item, text in iterate_queries(task)},
        {item: round(mean(map(count_words, texts))) for item, texts in relevant if texts},
    )


def _group_scores(
    items: Mapping[str, RoleValues],
    lengths: LengthsByTask,
    kinds: QueryKinds,
    groups: Mapping[str, AnswerGroups],
) -> dict[str, list[Breakdown]]:
    """Group the scores of each task that ranks documents."""
    by_task = {
        task: group_queries(items[task], of_task, kinds.get(task, {}), groups.get(task, {}))
        for task, of_task in lengths.items()
        if task in items
    }
    return {task: groups for task, groups in by_task.items() if groups}


def _collect_items(scores: ScoresByRole) -> dict[str, dict[str, dict[str, float]]]:
    by_task: dict[str, dict[str, dict[str, float]]] = {}
    for role, of_role in scores.items():
        for score in of_role:
            items = by_task.setdefault(score.task, {})
            for item, value in score.by_item.items():
                items.setdefault(item, {})[role] = value
    return by_task


def _collect_groups(scores: ScoresByRole) -> dict[str, AnswerGroups]:
    """Collect, by task, the queries that ask for the same documents."""
    each = (score for of_role in scores.values() for score in of_role if score.groups)
    return {score.task: score.groups for score in each}


def _describe_tasks(tasks: "Sequence[AbsTask]") -> dict[str, TaskFigures]:
    return {
        task.metadata.name: {
            "category": task.metadata.type,
            "metric": task.metadata.main_score,
            "revision": task.metadata.revision,
            "items": None,
            "dataset": get_hub_dataset(task),
        }
        for task in tasks
    }


def _summarize(
    own: Mapping[str, EvalModel],
    variants: Collection[str],
    published: Mapping[str, PublishedScores],
    scores: ScoresByRole,
    speed: Mapping[str, Speed],
    tasks: dict[str, TaskFigures],
) -> Summary:
    for score in scores["student"]:
        tasks[score.task]["items"] = score.items
    unaveraged = choose_unaveraged(tasks)
    averaged = {task: of for task, of in tasks.items() if task not in unaveraged}
    models = {
        role: _describe_model(model, averaged, scores[role], speed.get(role))
        for role, model in own.items()
    }
    for role in variants:
        models[role]["variant_of"] = "student"
        models[role]["latency_ms"] = models["student"]["latency_ms"]
        models[role]["latency_quartiles"] = models["student"].get("latency_quartiles", [])
    for role, model in own.items():
        if role in variants or model.documents is not None:
            # Documents are what many are embedded of; a query is one.
            documents = models["student" if model.documents is None else "teacher"]
            models[role]["texts_per_second"] = documents["texts_per_second"]
            models[role]["speed_rounds"] = documents.get("speed_rounds", [])
    baselines = [role for role in scores if role not in own]
    for role in baselines:
        models[role] = _describe_scores(format_role(role), averaged, scores[role])
        models[role]["baseline"] = True
    models |= {name: _describe_published(of, averaged) for name, of in published.items()}
    everyone = scores | {name: of.scores for name, of in published.items()}
    return {
        "schema": SCHEMA,
        "mteb": need("mteb", "eval").__version__,
        "tasks": tasks,
        "unaveraged": unaveraged,
        "models": models,
        "kept": _compute_share_of_teacher(models),
        "differences": {
            name_difference(one, other): compare_scores(
                everyone[one],
                everyone[other],
                shared=bool({one, other} & {*baselines}),
                unaveraged=unaveraged,
            )
            for one, other in list_pairs(everyone, variants)
        },
    }


def _describe_model(
    model: EvalModel,
    averaged: Mapping[str, TaskFigures],
    scores: Sequence[TaskScore],
    speed: Speed | None,
) -> ModelFigures:
    rate = speed.texts_per_second if speed else None
    return {
        **_describe_scores(model.name, averaged, scores),
        "revision": model.revision,
        "licence": model.licence,
        "parameters": model.parameters,
        "bytes": model.bytes_on_disk,
        "dimensions": model.dimensions,
        "texts_per_second": None if rate is None else round(rate, 2),
        "latency_ms": round(speed.latency_ms, 3) if speed else None,
        "index_bytes_per_million": INDEXED_VECTORS * model.bytes_per_vector,
        "speed_rounds": [round(rate, 2) for rate in speed.rounds] if speed else [],
        "latency_quartiles": [round(time, 3) for time in speed.latency_quartiles] if speed else [],
    }


def _average(averaged: Collection[str], by_task: Mapping[str, float]) -> float | None:
    """Compute the mean over the averaged tasks; None without a score on one of them."""
    if any(task not in by_task for task in averaged):
        return None
    return round(mean(by_task[task] for task in averaged), 6)


def _describe_scores(
    name: str, averaged: Mapping[str, TaskFigures], scores: Sequence[TaskScore]
) -> ModelFigures:
    """Describe a model by its scores alone. That is all there is of a baseline: a hybrid costs what
    its model and BM25 cost together, which was not measured."""
    by_task = {score.task: score.score for score in scores}
    return {
        "model": name,
        "revision": None,
        "licence": None,
        "parameters": None,
        "bytes": None,
        "dimensions": None,
        "texts_per_second": None,
        "latency_ms": None,
        "index_bytes_per_million": None,
        "score": _average(averaged, by_task),
        "by_category": average_by_category(averaged, by_task),
        "tasks": by_task,
        "variant_of": None,
        "published": False,
        "mteb": need("mteb", "eval").__version__,
        "measures": {score.task: score.measures for score in scores if score.measures},
        "details": {score.task: score.details for score in scores if score.details},
        "baseline": False,
    }


def _describe_published(of: PublishedScores, averaged: Mapping[str, TaskFigures]) -> ModelFigures:
    by_task = {score.task: score.score for score in of.scores}
    return {
        "model": of.model,
        "revision": of.revision,
        "licence": of.licence,
        "parameters": of.parameters,
        "bytes": None,
        "dimensions": of.dimensions,
        "texts_per_second": None,
        "latency_ms": None,
        "index_bytes_per_million": of.dimensions and 4 * INDEXED_VECTORS * of.dimensions,
        "score": _average(averaged, by_task),
        "by_category": average_by_category(averaged, by_task),
        "tasks": by_task,
        "variant_of": None,
        "published": True,
        "mteb": of.mteb,
        "measures": {},
        "baseline": False,
    }


def _compute_share_of_teacher(models: Mapping[str, ModelFigures]) -> float | None:
    ours = models["student"]["score"]
    theirs = models["teacher"]["score"] if "teacher" in models else None
    return round(ours / theirs, 4) if ours is not None and theirs else None
