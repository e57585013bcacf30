"""The models of a run as its evaluation, its report and its search open them: one way for all."""

from collections.abc import Mapping
from pathlib import Path

from distill.evaluate.model import EvalModel, load_any_model, load_eval_model
from distill.evaluate.prompts import check_prompts
from distill.recipe import ALL_TOKENS, EmbedderConfig, Recipe


def load_run_models(recipe: Recipe, folders: Mapping[str, Path]) -> dict[str, EvalModel]:
    """By role: the models in the run's folders, and the recipe's teacher where it names one.

    Args:
        folders: of `base` and `student`, or of one of them.

    Raises:
        UserError: if a model does not load, or the student's prompts are not those of its training.
    """
    told = recipe.evaluate.instructions
    settings = EmbedderConfig(max_tokens=ALL_TOKENS, device=recipe.train.device)
    found = {
        role: load_eval_model(folder, settings=settings, instructions=told)
        for role, folder in folders.items()
    }
    if "student" in found:
        found["student"] = check_prompts(found["student"], {})
    if recipe.teacher.model is not None:
        found["teacher"] = load_any_model(recipe.teacher, recipe.teacher.model, told)
    return found
