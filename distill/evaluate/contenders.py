"""The models of a run as its evaluation, its report and its search open them: one way for all."""

from collections.abc import Mapping
from pathlib import Path

from distill.evaluate.contender import Contender, open_contender, open_endpoint
from distill.evaluate.prompts import check_prompts
from distill.recipe import Recipe, Teacher


def open_contenders(recipe: Recipe, folders: Mapping[str, Path]) -> dict[str, Contender]:
    """By role: the models in the run's folders, and the recipe's teacher where it names one.

    Args:
        folders: of `base` and `student`, or of one of them.

    Raises:
        UserError: if a model does not load, or the student's prompts are not those of its training.
    """
    found = {
        role: open_contender(folder, device=recipe.train.device) for role, folder in folders.items()
    }
    if "student" in found:
        found["student"] = check_prompts(found["student"], {})
    if recipe.teacher.model is not None:
        found["teacher"] = _open_teacher(recipe.teacher, recipe.teacher.model)
    return found


def _open_teacher(teacher: Teacher, model: str) -> Contender:
    if teacher.base_url is not None:
        return open_endpoint(teacher, model, teacher.instruction_template)
    return open_contender(model, teacher.max_tokens, teacher.device, teacher.instruction_template)
