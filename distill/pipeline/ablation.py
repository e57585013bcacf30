"""Variants of a recipe side by side: every arm's student on the recipe's tasks, with the
uncertainty of its difference from the first arm's; beside them BM25, and its hybrid with each.

All arms live in one run's folder, so that what they have in common is made once; what an arm does
not share is set aside in `superseded/` and comes back when its settings do. A student's scores are
kept the moment they are there: a run that was killed goes on with the next.
"""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from rich.table import Table

from distill.corpus.held_out import JUDGED, OWN_TASKS
from distill.errors import UserError
from distill.evaluate.baselines.systems import score_baselines, takes_baselines
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.score import TaskScore, describe_task, score_tasks
from distill.evaluate.stage import load_named_tasks, load_recipe_tasks
from distill.evaluate.statistics.significance import compare_seeds
from distill.evaluate.summary import BM25_ROLE, SCHEMA, format_metric, name_hybrid
from distill.files.atomic import commit_bytes, read_json, write_json
from distill.files.checksums import digest_bytes
from distill.pipeline.job import Job
from distill.recipe import Recipe, override
from distill.report.markdown.escape import write_table
from distill.store.run import Run
from distill.store.stage import fingerprint
from distill.tasks.data import load_data
from distill.tasks.labelled import is_labelled_file

_LOG = logging.getLogger(__name__)
ArmScores = dict[str, list[TaskScore]]
"""The scores on all tasks of the student and of what stands beside it, by role as in a
comparison."""
COLUMNS = ("arm", "{metric}", "by seed", "sd", "difference from {first}", "95 % interval", "p")


class Arm(NamedTuple):
    """An arm's scores, one list of tasks for each seed."""

    name: str
    scores: list[list[TaskScore]]

    @property
    def by_seed(self) -> list[float]:
        """The mean score over tasks of each seed."""
        return [mean(task.score for task in of_seed) for of_seed in self.scores]


def ablate(folder: Path, recipe: Recipe) -> list[Arm]:
    """Train and evaluate every arm with every seed. Behind the arms are their untrained bases and,
    where every task is one of retrieval, BM25 and the hybrid of each with it.

    Raises:
        UserError: if the recipe names no arms or no task, or the task judged, or an arm is not a
            valid recipe or not measured on what the others are.
    """
    if not recipe.ablation.arms:
        raise UserError(
            f"recipe {recipe.name}",
            "has no arms to compare",
            "name them: `ablation: {arms: {plain: {}, other: {relabel.positive: seed}}}`",
        )
    arms = {name: override(recipe, keys) for name, keys in recipe.ablation.arms.items()}
    if JUDGED in recipe.evaluate.tasks:
        raise UserError(
            f"recipe {recipe.name}",
            f"evaluate.tasks has {JUDGED}, whose pool is made by `distill run` alone",
            f"take {JUDGED} out of evaluate.tasks",
        )
    _check_measured_alike(recipe, arms)
    data = _describe_named_tasks(recipe)
    _check_documents_alike(recipe, arms, data)
    scores = {
        name: [_score_arm(folder, of_arm, seed, data) for seed in recipe.ablation.seeds]
        for name, of_arm in arms.items()
    }
    return _make_rows(scores)


def _check_measured_alike(recipe: Recipe, arms: Mapping[str, Recipe]) -> None:
    """Refuse an arm that is measured on other items, for items are compared one by one."""
    for name, arm in arms.items():
        of_arm = _list_measured(arm)
        for key, value in _list_measured(recipe).items():
            if of_arm[key] != value:
                raise UserError(
                    f"ablation.arms: {name}",
                    f"sets {key}, so that it is measured on other queries than the other arms",
                    f"set {key} for all arms, in the recipe itself",
                )


def _list_measured(recipe: Recipe) -> dict[str, Any]:
    """List the settings that decide which items a model is measured on. Of a corpus are the tasks
    that a run makes itself."""
    evaluate = recipe.evaluate
    named = ("tasks", "benchmarks", "columns", "task_data")
    settings = {f"evaluate.{key}": getattr(evaluate, key) for key in named}
    if any(task in OWN_TASKS for task in evaluate.tasks):
        known = evaluate.known_item
        settings |= {"evaluate.known_item": known, "corpus": recipe.corpus, "seed": recipe.seed}
    return settings


def _check_documents_alike(
    recipe: Recipe, arms: Mapping[str, Recipe], data: Mapping[str, Any]
) -> None:
    """Refuse an arm in whose corpus a labelled set names other documents.

    Args:
        data: the recipe's own tasks.
    """
    if not any(is_labelled_file(task) for task in recipe.evaluate.tasks):
        return
    for name, arm in arms.items():
        changed = [key for key in ("corpus", "seed") if getattr(arm, key) != getattr(recipe, key)]
        if changed and _describe_named_tasks(arm) != data:
            raise UserError(
                f"ablation.arms: {name}",
                f"sets {' and '.join(changed)}, so that the ids of a labelled set name other "
                "documents than those of the other arms",
                f"set {' and '.join(changed)} for all arms, in the recipe itself",
            )


def _describe_named_tasks(recipe: Recipe) -> dict[str, Any]:
    """Describe the tasks that a run does not make itself, by name. What a run holds out is made of
    the corpus, which the recipe names."""
    tasks = load_named_tasks(recipe.evaluate, recipe.own_corpus, recipe.seed)
    return {task.metadata.name: describe_task(task) for task in tasks}


def _make_rows(scores: Mapping[str, list[ArmScores]]) -> list[Arm]:
    """Order the scores of all arms by row. Scores that an earlier version kept have no hybrids."""
    arms = {name: (of_arm, "student") for name, of_arm in scores.items()}
    bases = _find_different(scores, "base", "base{}, untrained")
    arms |= {name: ([of_base], "base") for name, of_base in bases.items()}
    rows = [Arm(name, [of[role] for of in each]) for name, (each, role) in arms.items()]
    lists = _find_different(scores, BM25_ROLE, "BM25{}")
    rows += [Arm(name, [of_bm25[BM25_ROLE]]) for name, of_bm25 in lists.items()]
    for name, (each, role) in arms.items():
        hybrid = name_hybrid(role)
        if all(hybrid in of for of in each):
            rows.append(Arm(f"{name} + BM25", [of[hybrid] for of in each]))
    return rows


def _find_different(
    scores: Mapping[str, list[ArmScores]], role: str, title: str
) -> dict[str, ArmScores]:
    """Find the scores with each different model of a role, such as the base, which scores the same
    whatever is made of it.

    Args:
        title: of its row, with a place for the first arm that has it, where there are several.
    """
    found: dict[tuple[float, ...], tuple[str, ArmScores]] = {}
    for name, of_arm in scores.items():
        if role in of_arm[-1]:
            of_role = tuple(task.score for task in of_arm[-1][role])
            found.setdefault(of_role, (name, of_arm[-1]))
    several = len(found) > 1
    return {
        title.format(f" of {name}" if several else ""): of_arm for name, of_arm in found.values()
    }


def _score_arm(folder: Path, recipe: Recipe, seed: int, data: Mapping[str, Any]) -> ArmScores:
    # Not the recipe's own seed: the queries and the choice are the same for all seeds.
    trained = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
    settings = trained.list_fingerprinted(exclude={"ablation", "execution", "store"})
    mark = fingerprint("ablation", {"schema": SCHEMA, "recipe": settings, "tasks": data}, {})
    path = folder / "ablation" / f"{mark}.json"
    if (scores := _read_scores(path)) is not None:
        return scores
    with Run(folder, "stale") as run:
        corpus, base, student = Job(run, trained).train_student()
        tasks = load_recipe_tasks(trained, corpus.held_out, known_item=corpus.known_item)
        for task in tasks:
            load_data(task)
        device, out = trained.train.device, (folder / "ablation").resolve()
        instructions, baselines = trained.evaluate.instructions, trained.evaluate.baselines
        models = {
            role: load_eval_model(of.folder, device=device, instructions=instructions)
            for role, of in (("student", student), ("base", base))
        }
        fused = baselines and all(takes_baselines(task) for task in tasks)
        by_role = {role: score_tasks(model, tasks, out, fused) for role, model in models.items()}
        for task in tasks if fused else []:
            beside = score_baselines(models, task, out, trained.retriever.bm25)
            for role, score in beside.items():
                by_role.setdefault(role, []).append(score)
    _keep_scores(path, mark, by_role)
    return by_role


def _keep_scores(path: Path, mark: str, scores: ArmScores) -> None:
    path.parent.mkdir(exist_ok=True)
    # As it will be read: the checksum is taken of that.
    plain = json.loads(
        json.dumps({role: _convert_to_plain(of_role) for role, of_role in scores.items()})
    )
    write_json(path, {"fingerprint": mark, **plain, "sha256": _compute_digest(plain)})


def _read_scores(path: Path) -> ArmScores | None:
    """Read the scores of a student and what stands beside it that were kept; None where there are
    none. A file that is damaged is said and set aside: its scores are computed again."""
    if not path.exists():
        return None
    try:
        stored = read_json(path)
        plain = {role: stored[role] for role in stored if role not in ("fingerprint", "sha256")}
        # Files of earlier versions have no checksum.
        if stored.get("sha256", _compute_digest(plain)) != _compute_digest(plain):
            raise ValueError("its checksum differs")
        scores = {role: _read(of_role) for role, of_role in plain.items()}
        if not {"student", "base"} <= scores.keys():
            raise ValueError("it lacks the student or the base")
        return scores
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as fault:
        _LOG.warning(
            "%s is damaged (%s): its scores are computed again", path, _describe_fault(fault)
        )
    place = path.parent / "damaged"
    place.mkdir(exist_ok=True)
    os.replace(path, place / path.name)
    return None


def _describe_fault(fault: Exception) -> str:
    return fault.what if isinstance(fault, UserError) else repr(fault)


def _compute_digest(value: Any) -> str:
    return digest_bytes(json.dumps(value, sort_keys=True).encode())


def make_cells(arms: Sequence[Arm]) -> list[list[str]]:
    """Make the cells of the table, a row an arm: mean over seeds, each seed, their standard
    deviation, and the difference from the first arm, with an interval and p over items (queries,
    texts, pairs of texts) and seeds. Where a task has no values of single items there is
    neither."""
    first = arms[0].scores
    rows = []
    for number, arm in enumerate(arms):
        gap = compare_seeds(arm.scores, first) if number else None
        sure = gap is not None and gap["low"] is not None
        seeds = arm.by_seed
        rows.append(
            [
                arm.name,
                f"{mean(seeds):.4f}",
                ", ".join(f"{score:.4f}" for score in seeds) if len(seeds) > 1 else "",
                f"{stdev(seeds):.4f}" if len(seeds) > 1 else "",
                f"{gap['difference']:+.4f}" if gap else "",
                f"{gap['low']:+.4f} to {gap['high']:+.4f}" if gap and sure else "",
                f"{gap['p']:.4f}" if gap and sure else "",
            ]
        )
    return rows


def write_ablation(folder: Path, arms: Sequence[Arm]) -> Path:
    """Write the table, `ablation.md` in the run's folder."""
    path = folder / "ablation.md"
    text = write_table(_list_columns(arms), make_cells(arms))
    commit_bytes(path, f"# Ablation {folder.resolve().name}\n\n{text}\n".encode())
    return path


def render(arms: Sequence[Arm]) -> Table:
    """Make the table of arms for the terminal."""
    view = Table(*_list_columns(arms))
    for row in make_cells(arms):
        view.add_row(*row)
    return view


def _list_columns(arms: Sequence[Arm]) -> list[str]:
    shared = {format_metric(of.metric) for of in arms[0].scores[0]}
    metric = shared.pop() if len(shared) == 1 else "mean over tasks"
    return [column.format(first=arms[0].name, metric=metric) for column in COLUMNS]


def _convert_to_plain(scores: Sequence[TaskScore]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(score) for score in scores]


def _read(stored: Sequence[Mapping[str, Any]]) -> list[TaskScore]:
    return [TaskScore(**one) for one in stored]
