"""Variants of a recipe side by side: every arm's student on the recipe's tasks, with the
uncertainty of its difference from the first arm's.

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

from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.score import TaskScore, describe_task, score_tasks
from distill.evaluate.stage import load_named_tasks, load_recipe_tasks
from distill.evaluate.statistics.significance import compare_seeds
from distill.evaluate.summary import SCHEMA, format_metric
from distill.files.atomic import read_json, write_json
from distill.files.checksums import digest_bytes
from distill.pipeline.job import Job
from distill.recipe import Recipe, override
from distill.report.markdown.escape import table
from distill.store.run import Run
from distill.store.stage import fingerprint
from distill.store.tables import commit_bytes
from distill.tasks.data import load_data

_LOG = logging.getLogger(__name__)
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
    """Train and evaluate every arm with every seed; the untrained base is the last arm.

    Raises:
        UserError: if the recipe names no arms or no task, or an arm is not a valid recipe.
    """
    if not recipe.ablation.arms:
        raise UserError(
            f"recipe {recipe.name}",
            "has no arms to compare",
            "name them: `ablation: {arms: {plain: {}, other: {relabel.positive: seed}}}`",
        )
    arms = {name: override(recipe, keys) for name, keys in recipe.ablation.arms.items()}
    # What is held out is made of the corpus, which the recipe names.
    data = {task.metadata.name: describe_task(task) for task in load_named_tasks(recipe)}
    scores: dict[str, list[list[TaskScore]]] = {name: [] for name in arms}
    base: list[TaskScore] = []
    for name, of_arm in arms.items():
        for seed in recipe.ablation.seeds:
            student, base = _student_and_base(folder, of_arm, seed, data)
            scores[name].append(student)
    found = [Arm(name, of_arm) for name, of_arm in scores.items()]
    return [*found, Arm("base, untrained", [base])]


def _student_and_base(
    folder: Path, recipe: Recipe, seed: int, data: Mapping[str, Any]
) -> tuple[list[TaskScore], list[TaskScore]]:
    # Not the recipe's own seed: the queries and the choice are the same for all seeds.
    trained = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
    settings = trained.fingerprinted(exclude={"ablation"})
    mark = fingerprint("ablation", {"schema": SCHEMA, "recipe": settings, "tasks": data}, {})
    path = folder / "ablation" / f"{mark}.json"
    if (scores := _read_scores(path)) is not None:
        return scores
    with Run(folder, "stale") as run:
        corpus, base, student = Job(run, trained).train_student()
        tasks = load_recipe_tasks(trained, corpus.held_out, known_item=corpus.known_item)
        for task in tasks:
            load_data(task)
        device, out = trained.train.device, folder / "ablation"
        told = trained.evaluate.instructions
        found = [
            score_tasks(load_eval_model(of.folder, device=device, instructions=told), tasks, out)
            for of in (student, base)
        ]
    _keep_scores(path, mark, found[0], found[1])
    return found[0], found[1]


def _keep_scores(
    path: Path, mark: str, student: Sequence[TaskScore], base: Sequence[TaskScore]
) -> None:
    path.parent.mkdir(exist_ok=True)
    # As it will be read: the checksum is taken of that.
    of_both = json.loads(json.dumps({"student": _plain(student), "base": _plain(base)}))
    write_json(path, {"fingerprint": mark, **of_both, "sha256": _digest(of_both)})


def _read_scores(path: Path) -> tuple[list[TaskScore], list[TaskScore]] | None:
    """The scores of a student and its base that were kept; None where there are none. A file that
    is damaged is said and set aside: its scores are computed again."""
    if not path.exists():
        return None
    try:
        kept = read_json(path)
        of_both = {"student": kept["student"], "base": kept["base"]}
        # Files of before have no checksum.
        if kept.get("sha256", _digest(of_both)) != _digest(of_both):
            raise ValueError("its checksum differs")
        return _read(of_both["student"]), _read(of_both["base"])
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as fault:
        _LOG.warning("%s is damaged (%s): its scores are computed again", path, _say(fault))
    place = path.parent / "damaged"
    place.mkdir(exist_ok=True)
    os.replace(path, place / path.name)
    return None


def _say(fault: Exception) -> str:
    return fault.what if isinstance(fault, UserError) else repr(fault)


def _digest(value: Any) -> str:
    return digest_bytes(json.dumps(value, sort_keys=True).encode())


def make_cells(arms: Sequence[Arm]) -> list[list[str]]:
    """A row an arm: mean over seeds, each seed, their standard deviation, and the difference from
    the first arm, with an interval over items (queries, texts, pairs of texts) and seeds. Where
    a task has no values of single items there is no interval."""
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
    """`ablation.md` in the run's folder: the table."""
    path = folder / "ablation.md"
    text = table(_columns(arms), make_cells(arms))
    commit_bytes(path, f"# Ablation {folder.resolve().name}\n\n{text}\n".encode())
    return path


def render(arms: Sequence[Arm]) -> Table:
    """Make the table of arms for the terminal."""
    view = Table(*_columns(arms))
    for row in make_cells(arms):
        view.add_row(*row)
    return view


def _columns(arms: Sequence[Arm]) -> list[str]:
    shared = {format_metric(of.metric) for of in arms[0].scores[0]}
    metric = shared.pop() if len(shared) == 1 else "mean over tasks"
    return [column.format(first=arms[0].name, metric=metric) for column in COLUMNS]


def _plain(scores: Sequence[TaskScore]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(score) for score in scores]


def _read(kept: Sequence[Mapping[str, Any]]) -> list[TaskScore]:
    return [TaskScore(**one) for one in kept]
