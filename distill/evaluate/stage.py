"""The stage `evaluation`: base, student and teacher on the recipe's tasks."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.corpus.held_out import HELD_OUT, JUDGED, KNOWN_ITEM, OWN_TASKS
from distill.embed.open_model import UNTITLED_MARK
from distill.errors import UserError
from distill.evaluate.baselines.systems import rank_systems
from distill.evaluate.compare import compare, make_student_variants
from distill.evaluate.judged.sheet import RANKINGS_FILE
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.published import PublishedScores, read_published
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.run_summary import complete_summary
from distill.evaluate.samples.query_groups import read_query_kinds
from distill.evaluate.score import describe_task
from distill.evaluate.statistics.prediction_powered import DEPTH
from distill.evaluate.summary import SCHEMA, Summary, read_summary, write_summary
from distill.evaluate.unlabelled import count_unlabelled_overlap, list_unlabelled_uses
from distill.evaluate.verdict import MARGIN
from distill.files.atomic import write_json
from distill.recipe import BM25, Corpus, Evaluate, Filters, Recipe, Student, Teacher
from distill.runtime.progress import show_planned_stage
from distill.store.run import Run
from distill.store.stage import Stage
from distill.tasks import load_task, open_recipe_tasks
from distill.teacher.vectors import identify_teacher, uses_tasks

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
    """Compare base, student and teacher, and write the verdict to `evaluation/summary.json`, and
    with what it rests on to `summary.json` in the run's folder.

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
    evaluate = recipe.evaluate
    published = read_published(
        [Path(place) for place in evaluate.published], tasks, evaluate.accept_versions
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
        bm25, filters = recipe.retriever.bm25, recipe.generate.filters
        overlap = (
            count_unlabelled_overlap(recipe.train, filters, passages, others) if others else None
        )
        folders = {"base": base.folder, "student": student.folder}
        models = load_run_models(RunModelSettings.select(recipe), folders, run)
        summary = _compare_models(run, evaluate, bm25, models, tasks, published, stage.folder)
        if JUDGED in evaluate.tasks:
            _write_rankings(run, bm25, models, tasks, stage)
        write_summary(stage.folder / "summary.json", summary)
        figures = _select_scores(summary) | ({"unlabelled": overlap} if overlap else {})
        stage.finish(seconds=time.perf_counter() - begun, **figures)
    summary = read_summary(stage.folder / "summary.json")
    write_summary(run.folder / "summary.json", complete_summary(summary, run.folder))
    return stage


def _compare_models(
    run: Run,
    evaluate: Evaluate,
    bm25: BM25,
    models: dict[str, EvalModel],
    tasks: "list[AbsTask]",
    published: dict[str, PublishedScores],
    out: Path,
) -> Summary:
    with show_planned_stage("evaluation"):
        return compare(
            models,
            tasks,
            out,
            make_student_variants(
                models, evaluate.widths, evaluate.precisions, evaluate.asymmetric
            ),
            published,
            speed_texts=evaluate.speed_texts,
            evaluated=run.folder / RESULTS_FOLDER,
            baselines=bm25 if evaluate.baselines else None,
            margin=evaluate.margin,
            kinds=read_query_kinds(run.folder),
        )


def _write_rankings(
    run: Run,
    bm25: BM25,
    models: Mapping[str, EvalModel],
    tasks: "list[AbsTask]",
    stage: Stage,
) -> None:
    """Keep what each system ranks first for the held-out queries, for the verdict on the pool."""
    judged = next(task for task in tasks if task.metadata.name == JUDGED)
    results = run.folder / RESULTS_FOLDER
    ranked = rank_systems(models, judged, results, bm25, DEPTH)
    write_json(stage.folder / RANKINGS_FILE, ranked)


def fingerprint(
    recipe: Recipe, tasks: "list[AbsTask]", published: dict[str, PublishedScores]
) -> dict[str, Any]:
    """Collect the settings that change the verdict: of nearly every section of the recipe."""
    evaluate, teacher = recipe.evaluate, recipe.teacher
    is_instructed = _are_tasks_instructed(recipe.student, teacher, evaluate.instructions)
    found_by = {*recipe.retriever.sources, *recipe.relabel.rankers}
    finds_by_words = "bm25" in found_by and recipe.generate.from_passages
    is_overlap_counted = bool(list_unlabelled_uses(recipe.train))
    return {
        "schema": SCHEMA,
        "tasks": {task.metadata.name: describe_task(task) for task in tasks},
        "speed_texts": evaluate.speed_texts,
        "teacher": teacher.model and _describe_teacher(teacher, teacher.model),
        # Null as before there were instructions, for a run in which no model gets one.
        "instruction_template": "each model's own" if is_instructed else None,
        "widths": evaluate.widths,
        "precisions": evaluate.precisions,
        "asymmetric": evaluate.asymmetric,
        "published": {
            name: {score.task: score.score for score in of.scores} for name, of in published.items()
        },
        # Added after there were runs: absent where they are the same as for those.
        **_fingerprint_comparison(evaluate, None if finds_by_words else recipe.retriever.bm25),
        **(_fingerprint_overlap(recipe.generate.filters) if is_overlap_counted else {}),
        **_mark_untitled(recipe.student),
    }


def _fingerprint_comparison(evaluate: Evaluate, bm25: BM25 | None) -> dict[str, Any]:
    """Collect the settings of the baselines and the verdict that are not the defaults.

    Args:
        bm25: None where it finds candidates or ranks them: then its settings are in the fingerprint
            of the student.
    """
    settings: dict[str, Any] = {} if evaluate.baselines else {"baselines": False}
    if evaluate.margin != MARGIN:
        settings["margin"] = evaluate.margin
    if evaluate.baselines and bm25 is not None and bm25 != BM25():
        settings["bm25"] = bm25.model_dump()
    return settings


def _mark_untitled(student: Student) -> dict[str, str]:
    """Mark a student whose documents without a title were embedded otherwise by earlier
    versions."""
    return UNTITLED_MARK if student.text_format.has_title and not student.pool_prompt else {}


def _fingerprint_overlap(filters: Filters) -> dict[str, Any]:
    """Collect how the overlap beside the scores is counted, where that is not the
    default."""
    if filters.decontaminate is False:
        return {"decontaminate": False}
    length = filters.decontaminate_words
    return {} if length == Filters().decontaminate_words else {"decontaminate_words": length}


def _describe_teacher(teacher: Teacher, model: str) -> list[object]:
    """Describe what of the teacher changes its vectors: values alone where each has its own place,
    as earlier runs have them, and the others by name, for a prompt of queries is none of
    documents."""
    named = identify_teacher(teacher, model)
    placed = ["model", "revision", "max_tokens"]
    placed += ["query_prompt", "document_prompt"] if teacher.base_url is not None else []
    values = [named.pop(key) for key in (*placed, "dtype", "published") if key in named]
    return [*values, named] if named else values


def _are_tasks_instructed(student: Student, teacher: Teacher, instructions: bool) -> bool:
    form = student.text_format
    takes_task = form.has_task or bool(student.symmetric) or uses_tasks(teacher)
    return (takes_task and instructions) or form.has_title


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
    evaluate = recipe.evaluate
    if not evaluate.tasks and not evaluate.benchmarks:
        raise UserError(
            f"recipe {recipe.name}", "evaluate.tasks is empty", "--set 'evaluate.tasks=[SciFact]'"
        )
    made = {HELD_OUT: held_out, JUDGED: judged, KNOWN_ITEM: known_item}
    own = [_load_own(name, stage) for name, stage in made.items() if name in evaluate.tasks]
    return own + load_named_tasks(evaluate, recipe.own_corpus, recipe.seed)


def load_named_tasks(evaluate: Evaluate, corpus: Corpus | None, seed: int) -> "list[AbsTask]":
    """Load all but what the run itself holds out.

    Args:
        corpus: whose passages a labelled set may name; None for a recipe without one.
    """
    named = [name for name in evaluate.tasks if name not in OWN_TASKS]
    return open_recipe_tasks(evaluate, corpus, seed, named)


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
