"""The static query encoder that `student.add_static` adds to a transformer's vectors: trained of
the same examples in a run inside the run, `round-static`.

A stage's code is imported when the stage is reached, as in `job`."""

import dataclasses

from distill.pipeline.inner_run import open_inner_run
from distill.recipe import Recipe
from distill.runtime import processes
from distill.store.run import Run
from distill.store.stage import Stage


def train_static(
    run: Run, recipe: Recipe, passages: Stage | None, examples: list[Stage], labels: Stage | None
) -> Stage | None:
    """Train the static query encoder; None for a recipe that adds none."""
    from distill.train.settings import TrainingSettings
    from distill.train.stage import train_student
    from distill.train.static.base import build_static_base

    added = recipe.student.add_static
    if added is None:
        return None
    student, train = recipe.student.make_static(), recipe.train.make_static(added)
    settings = TrainingSettings.select(recipe)._replace(
        student=student, train=train, saves_documents=False
    )
    with open_inner_run(run, "static") as inner:
        with processes.let_main_go_first():
            base = build_static_base(
                inner, student, recipe.teacher, recipe.seed, passages, examples
            )
        stage = train_student(inner, settings, passages, examples, base, labels)
    place = stage.folder.relative_to(run.folder).as_posix()
    return dataclasses.replace(stage, name=place)
