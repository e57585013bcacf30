"""What comes before a run: the checks of a recipe."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from distill.api.session import RecipeOrFile, settle
from distill.recipe import Recipe
from distill.runtime.processes import is_main

if TYPE_CHECKING:
    from distill.start.check import CheckResult

_logger = logging.getLogger(__name__)
_READ_ALONE = {"passages", "passages-held-out", "held-out"}
"""Stages that spend nothing: a run of these alone has not begun."""


def check(recipe: RecipeOrFile, folder: str | Path | None = None) -> "CheckResult":
    """Look for everything that would end a run of the recipe later: files, columns, tasks, models,
    servers, prompts, packages and free disk. No model is loaded and nothing is written.

    >>> check("mine.yaml").faults  # doctest: +SKIP
    []

    Args:
        folder: where the run would be written; by default `artifacts/NAME`.

    Raises:
        UserError: if the recipe itself is not valid.
    """
    from distill.start.check import check_recipe

    recipe, place = settle(recipe, folder)
    return check_recipe(recipe, place)


def check_first(recipe: Recipe, folder: Path, models: bool = True) -> None:
    """Check a recipe before anything is spent on it. A run that has begun was checked then: to end
    it, a server that wrote its queries need not be there any more.

    Args:
        models: whether its models must be reachable.

    Raises:
        UserError: naming all faults.
    """
    if not is_main() or _has_begun(folder):
        return
    from distill.start.check import check_recipe, raise_faults

    result = check_recipe(recipe, folder, models)
    for notice in result.notices:
        _logger.warning("%s", notice)
    raise_faults(recipe, result.faults)


def _has_begun(folder: Path) -> bool:
    stages = {path.parent.parent.name for path in folder.glob("*/.stage/manifest.json")}
    return bool(stages - _READ_ALONE)
