"""The models of a run as its evaluation, its report and its search open them: one way for all."""

from collections.abc import Mapping
from pathlib import Path

from distill.evaluate.contender import Contender, open_contender
from distill.evaluate.prompts import check_prompts
from distill.recipe import Recipe


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
    teacher = recipe.teacher
    if teacher.model is not None:
        found["teacher"] = open_contender(
            teacher.model, teacher.max_tokens, teacher.device, teacher.instruction_template
        )
    return found
