"""List the stages that a run has before it and their greatest amounts of work, for its progress."""

from collections.abc import Callable

from distill.estimate.amounts import StageEstimate
from distill.estimate.estimate import estimate
from distill.estimate.stages.train import STATIC
from distill.llm.protocol import LLM
from distill.models.sources.cache import get_cache_folder
from distill.recipe import Recipe
from distill.runtime.run_plan import PlannedStage, RunPlan, read_speeds
from distill.store.run import Run

_LABELS = {"student": "train", "teacher vectors": "teacher's"}
"""How the bars of these stages are called, or begin."""


def plan_run(run: Run, recipe: Recipe, llm: Callable[[], LLM]) -> RunPlan:
    """List the stages after the corpus, which is read for it; no model is loaded and no LLM used.

    Raises:
        UserError: as `estimate` does: what would end the run later ends it here.
    """
    lines = [
        line for line in estimate(run, recipe, llm, sample=0).lines if line.stage != "passages"
    ]
    models = _list_models(recipe)
    stages = [
        PlannedStage(
            _make_label(line),
            line.amount.high,
            f"{models}|static" if line.stage == STATIC else models,
            line.unit,
        )
        for line in lines
    ]
    return RunPlan(stages, read_speeds(get_cache_folder()))


def _make_label(line: StageEstimate) -> str:
    rounds, slash, stage = line.stage.rpartition("/")
    return rounds + slash + _LABELS.get(stage, stage)


def _list_models(recipe: Recipe) -> str:
    """List the models and devices that a stage works with."""
    parts = [
        recipe.llm.engine,
        recipe.llm.model,
        recipe.llm.device,
        recipe.retriever.model,
        recipe.retriever.device,
        recipe.teacher.model,
        recipe.teacher.device,
        recipe.student.encoder,
        recipe.train.device,
        recipe.train.batch_size,
    ]
    if recipe.judging_llm != recipe.llm:
        judging = recipe.judging_llm
        parts += [judging.engine, judging.model, judging.device]
    return "|".join(map(str, parts))
