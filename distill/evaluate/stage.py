"""The stage `evaluation`: base, student and teacher on the recipe's tasks."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.held_out import HELD_OUT, JUDGED, KNOWN_ITEM, OWN_TASKS
from distill.errors import UserError
from distill.evaluate.baselines.systems import rank_systems
from distill.evaluate.compare import compare, make_student_variants
from distill.evaluate.judged.sheet import RANKINGS_FILE
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.published import PublishedScores, read_published
from distill.evaluate.models.run_models import load_run_models
from distill.evaluate.score import describe_task
from distill.evaluate.statistics.prediction_powered import DEPTH
from distill.evaluate.summary import SCHEMA, Summary, read_summary, write_summary
from distill.evaluate.unlabelled import count_unlabelled_overlap, list_unlabelled_uses
from distill.evaluate.verdict import MARGIN
from distill.files.atomic import write_json
from distill.recipe import BM25, Filters, Recipe, Teacher
from distill.runtime.progress import show_planned_stage
from distill.store.run import Run
from distill.store.stage import Stage
from distill.tasks import load_task, open_recipe_tasks
from distill.teacher.vectors import identify_teacher, is_told_tasks

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

RESULTS_FOLDER = "evaluated"
"""In a run: what evaluations have computed. It stays where the stage is set aside, for each result
and vector there carries what it was computed of."""
_NOT_MADE = {
    HELD_OUT: ("this run holds nothing out", "set corpus.held_out above 0"),
    JUDGED: (
        "its pool is made by `distill run` alone, of the models that it compares",
        "take it out of evaluate.tasks",
    ),
    KNOWN_ITEM: (
        "is made of the documents that a run holds out",
        "set corpus.held_out above 0, and give a corpus",
    ),
}
"""Why a task of the run's own is not there, and the remedy."""


def evaluate_run(
    run: Run,
    recipe: Recipe,
    base: Stage,
    student: Stage,
    held_out: Stage | None = None,
    passages: Stage | None = None,
    judged: Stage | None = None,
    known_item: Stage | None = None,
) -> Stage:
    """Compare base, student and teacher, and write the verdict to `evaluation/summary.json` and
    to `summary.json` in the run's folder.

    mteb's results lie in `evaluated/results`, the vectors in `evaluated/vectors`, the values of
    single queries and texts in `evaluation/items.json`. A model whose result on a task is there is
    not evaluated on it again, and a text whose vector is there is not encoded again.

    Args:
        passages: what the student may have been aligned on; how many of them overlap with the
            tasks is counted.
        judged: the pool of the task `judged`.
        known_item: the documents and queries of the task `known-item`.

    Raises:
        UserError: if the recipe names no task, or one that cannot be read.
    """
    tasks = load_recipe_tasks(recipe, held_out, judged, known_item)
    asked = recipe.evaluate
    published = read_published(
        [Path(place) for place in asked.published], tasks, asked.accept_versions
    )
    own = (held_out, judged, known_item)
    inputs = [base, student, *(of for of in own if of is not None)]
    settings = fingerprint(recipe, tasks, published)
    # Nothing is made from it, and what it computed before lies in the folder of results.
    stage = run.open_stage("evaluation", settings, inputs, replaces=True)
    if not stage.complete:
        begun = time.perf_counter()
        # These hold the passages that were trained on, to be found among.
        others = [task for task in tasks if task.metadata.name not in (JUDGED, KNOWN_ITEM)]
        overlap = count_unlabelled_overlap(recipe, passages, others) if others else None
        models = load_run_models(recipe, {"base": base.folder, "student": student.folder})
        summary = _compare_models(run, recipe, models, tasks, published, stage.folder)
        if JUDGED in asked.tasks:
            _write_rankings(run, recipe, models, tasks, stage)
        write_summary(stage.folder / "summary.json", summary)
        figures = _select_scores(summary) | ({"unlabelled": overlap} if overlap else {})
        stage.finish(seconds=time.perf_counter() - begun, **figures)
    write_summary(run.folder / "summary.json", read_summary(stage.folder / "summary.json"))
    return stage


def _compare_models(
    run: Run,
    recipe: Recipe,
    models: dict[str, EvalModel],
    tasks: "list[AbsTask]",
    published: dict[str, PublishedScores],
    out: Path,
) -> Summary:
    asked = recipe.evaluate
    with show_planned_stage("evaluation"):
        return compare(
            models,
            tasks,
            out,
            make_student_variants(models, asked.widths, asked.precisions, asked.asymmetric),
            published,
            speed_texts=asked.speed_texts,
            evaluated=run.folder / RESULTS_FOLDER,
            baselines=recipe.retriever.bm25 if asked.baselines else None,
            margin=asked.margin,
        )


def _write_rankings(
    run: Run,
    recipe: Recipe,
    models: Mapping[str, EvalModel],
    tasks: "list[AbsTask]",
    stage: Stage,
) -> None:
    """Keep what each system ranks first for the held-out queries, for the verdict on the pool."""
    judged = next(task for task in tasks if task.metadata.name == JUDGED)
    results = run.folder / RESULTS_FOLDER
    ranked = rank_systems(models, judged, results, recipe.retriever.bm25, DEPTH)
    write_json(stage.folder / RANKINGS_FILE, ranked)


def fingerprint(
    recipe: Recipe, tasks: "list[AbsTask]", published: dict[str, PublishedScores]
) -> dict[str, Any]:
    """Collect the settings that change the verdict."""
    asked, teacher = recipe.evaluate, recipe.teacher
    return {
        "schema": SCHEMA,
        "tasks": {task.metadata.name: describe_task(task) for task in tasks},
        "speed_texts": asked.speed_texts,
        "teacher": teacher.model and _describe_teacher(teacher, teacher.model),
        # Null as it was before models were told tasks, for a run in which none is.
        "instruction_template": "each model's own" if _are_tasks_instructed(recipe) else None,
        "widths": asked.widths,
        "precisions": asked.precisions,
        "asymmetric": asked.asymmetric,
        "published": {
            name: {score.task: score.score for score in of.scores} for name, of in published.items()
        },
        **_collect_newer_settings(recipe),
    }


def _collect_newer_settings(recipe: Recipe) -> dict[str, Any]:
    """Collect what was added after there were runs, where it is not as it was for them. Where BM25
    finds candidates or ranks them, its settings are in the fingerprint of the student."""
    asked, bm25 = recipe.evaluate, recipe.retriever.bm25
    elsewhere = "bm25" in {*recipe.retriever.sources, *recipe.relabel.rankers}
    told = {
        "baselines": None if asked.baselines else False,
        "margin": None if asked.margin == MARGIN else asked.margin,
        "bm25": None if bm25 == BM25() or elsewhere or not asked.baselines else bm25.model_dump(),
        "decontaminate_words": _find_overlap_words(recipe),
        "decontaminate": _find_overlap_switch(recipe),
    }
    return {key: value for key, value in told.items() if value is not None}


def _find_overlap_switch(recipe: Recipe) -> bool | None:
    """Return False where an overlap would be counted beside the scores and is not; else None."""
    is_off = recipe.generate.filters.decontaminate is False
    return False if is_off and list_unlabelled_uses(recipe) else None


def _find_overlap_words(recipe: Recipe) -> int | None:
    """Return the length in words of an overlap that is counted beside the scores; None where none
    is counted, or it is the default."""
    filters = recipe.generate.filters
    length = filters.decontaminate_words
    is_default = length == Filters().decontaminate_words
    if is_default or filters.decontaminate is False or not list_unlabelled_uses(recipe):
        return None
    return length


def _describe_teacher(teacher: Teacher, model: str) -> list[object]:
    """Describe what of the teacher changes its vectors: values alone where each has its own place,
    as runs of before have them, and the others by name, for a prompt of queries is none of
    documents."""
    named = identify_teacher(teacher, model)
    placed = ["model", "revision", "max_tokens"]
    placed += ["query_prompt", "document_prompt"] if teacher.base_url is not None else []
    values = [named.pop(key) for key in (*placed, "dtype", "published") if key in named]
    return [*values, named] if named else values


def _are_tasks_instructed(recipe: Recipe) -> bool:
    form = recipe.student.text_format
    told = form.has_task or bool(recipe.student.symmetric) or is_told_tasks(recipe.teacher)
    return (told and recipe.evaluate.instructions) or form.has_title


def load_recipe_tasks(
    recipe: Recipe,
    held_out: Stage | None,
    judged: Stage | None = None,
    known_item: Stage | None = None,
) -> "list[AbsTask]":
    """Load the recipe's tasks and those of its benchmarks, opened, each once.

    Raises:
        UserError: if it names none, or one that cannot be read.
    """
    asked = recipe.evaluate
    if not asked.tasks and not asked.benchmarks:
        raise UserError(
            f"recipe {recipe.name}", "evaluate.tasks is empty", "--set 'evaluate.tasks=[SciFact]'"
        )
    made = {HELD_OUT: held_out, JUDGED: judged, KNOWN_ITEM: known_item}
    own = [_load_own(name, stage) for name, stage in made.items() if name in asked.tasks]
    return own + load_named_tasks(recipe)


def load_named_tasks(recipe: Recipe) -> "list[AbsTask]":
    """Load all but what the run itself holds out."""
    named = [name for name in recipe.evaluate.tasks if name not in OWN_TASKS]
    return open_recipe_tasks(recipe, named)


def _load_own(name: str, stage: Stage | None) -> "AbsTask":
    """Load a task that the run has made.

    Raises:
        UserError: if it has not.
    """
    if stage is None:
        raise UserError(f"task {name}", *_NOT_MADE[name])
    return load_task(stage.folder.name, stage.folder.parent)


def _select_scores(summary: Summary) -> dict[str, Any]:
    models = {role: summary["models"].get(role) for role in ("base", "student", "teacher")}
    figures = {f"score_{role}": of["score"] for role, of in models.items() if of and of["score"]}
    return figures | ({} if summary["kept"] is None else {"kept": summary["kept"]})
