"""Make a student from examples: the untrained base, a teacher's scores, and the training.

A stage's code is imported when the stage is reached, as in `job`."""

from distill.files.atomic import read_json
from distill.recipe import Recipe
from distill.runtime import processes
from distill.store.run import Run
from distill.store.stage import Stage


def make_student(
    run: Run,
    recipe: Recipe,
    passages: Stage | None,
    examples: list[Stage],
    labels: Stage | None,
    earlier: Stage | None = None,
    repeated: Stage | None = None,
) -> tuple[Stage, Stage]:
    """Make the base and the student, with the teacher's scores where training asks for them. Of a
    student with a fitted layer the base is the untrained one with that layer."""
    from distill.pipeline.train_static import train_static
    from distill.runtime.devices import free_memory
    from distill.train.data.sources import TrainingInputs
    from distill.train.on_ray import train_on_ray
    from distill.train.settings import TrainingSettings
    from distill.train.stage import train_student

    with processes.let_main_go_first():
        base = _build_base(run, recipe, passages, examples)
        scores = _make_teacher_scores(run, recipe, examples)
    run.workers.dismiss_all()
    static = train_static(run, recipe, passages, examples, labels)
    free_memory()
    settings = TrainingSettings.select(recipe)
    if recipe.train.interpolation < 1:
        repeated = None  # no round interpolates: it ends as the last training would before that
    inputs = TrainingInputs(run, passages, examples, labels, scores)
    if recipe.train.launcher == "ray" and (repeated is None or static is not None):
        train_on_ray(recipe.execution, settings, inputs, base, earlier, static)
    student = train_student(
        run, settings, passages, examples, base, labels, scores, earlier, repeated, static
    )
    if not run.workers.local:
        free_memory()  # in the next round workers open an LLM, perhaps on this GPU
    if recipe.student.projection == "fitted":
        from distill.train.fit_projection import make_fitted_base

        device = recipe.train.device
        base = make_fitted_base(recipe.student, recipe.teacher, inputs, base, device)
    return base, student


def _build_base(run: Run, recipe: Recipe, passages: Stage | None, examples: list[Stage]) -> Stage:
    """Build the student before training; of a static one the queries have to be there already."""
    if recipe.student.architecture == "static":
        from distill.train.static.base import build_static_base

        return build_static_base(
            run, recipe.student, recipe.teacher, recipe.seed, passages, examples
        )
    from distill.student.build import build_base

    return build_base(run, recipe.student, recipe.seed, passages)


def _make_teacher_scores(run: Run, recipe: Recipe, examples: list[Stage]) -> Stage | None:
    """Compute a teacher's scores, where training asks for them."""
    from distill.recipe.needs import TEACHER
    from distill.teacher.scores import make_teacher_scores
    from distill.train.data.soft_labels import list_score_sources

    if TEACHER not in list_score_sources(recipe.train):
        return None
    return make_teacher_scores(run, recipe.teacher, examples)


def is_start_best(student: Stage) -> bool:
    """Return whether the weights before training were the best in every training stage."""
    stages = read_json(student.folder / "training.json")["stages"]
    return all(stage["kept_steps"] == [0] for stage in stages)
