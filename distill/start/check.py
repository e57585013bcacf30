"""Everything about a recipe that can be found wrong in seconds, before anything is spent: files,
columns, models, servers, prompts, extras and free disk. All faults are named at once."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from distill.errors import UserError
from distill.recipe import Recipe
from distill.runtime.progress import show_activity
from distill.start.checks.begun import check_begun
from distill.start.checks.data import (
    check_corpus,
    check_document_vectors,
    check_labelled,
    list_task_checks,
)
from distill.start.checks.likelihoods import check_likelihoods
from distill.start.checks.machine import check_disk, check_languages, check_store, list_extra_checks
from distill.start.checks.models import check_llm_size, list_model_checks
from distill.start.checks.prompts import list_prompt_checks
from distill.start.checks.soft_labels import check_soft_labels

RecipeCheck = Callable[[], Iterable[str]]
"""One check: it returns notices, and raises a UserError for a fault."""


class CheckResult(NamedTuple):
    """`faults` would end the run; `notices` are worth knowing before it begins."""

    faults: list[UserError]
    notices: list[str]


@show_activity("checking the recipe")
def check_recipe(recipe: Recipe, folder: Path, models: bool = True) -> CheckResult:
    """Look for everything that would end a run of the recipe later. No model is loaded, nothing is
    written, and no LLM is asked for a query; a served one whose likelihoods are needed is asked for
    those of one sentence.

    Args:
        folder: where the run would be written.
        models: whether its models must be reachable.
    """
    faults: dict[str, UserError] = {}
    notices: list[str] = []

    def note(check: RecipeCheck) -> None:
        try:
            notices.extend(check())
        except UserError as fault:
            faults.setdefault(str(fault), fault)

    for check in _list_checks(recipe, folder, models):
        note(check)
    if models and not faults:  # a server is asked for a recipe that is whole otherwise
        note(lambda: check_likelihoods(recipe))
    return CheckResult([*faults.values()], list(dict.fromkeys(notices)))


def raise_faults(recipe: Recipe, faults: list[UserError]) -> None:
    """Raise the fault, or all of them as one.

    Raises:
        UserError: if there is any.
    """
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "".join(f"\n  {number}. {fault}" for number, fault in enumerate(faults, 1))
        raise UserError(
            f"recipe {recipe.name}",
            f"{len(faults)} faults:{listed}",
            "fix them; `distill check RECIPE` looks again",
        )


def _list_checks(recipe: Recipe, folder: Path, models: bool) -> Iterator[RecipeCheck]:
    yield lambda: check_corpus(recipe)
    yield lambda: check_labelled(recipe)
    yield lambda: check_document_vectors(recipe)
    yield from list_task_checks(recipe)
    yield from list_extra_checks(recipe)
    yield lambda: check_languages(recipe)
    if models:
        yield from list_model_checks(recipe)
    yield lambda: check_llm_size(recipe)
    yield lambda: check_soft_labels(recipe)
    yield from list_prompt_checks(recipe)
    yield lambda: check_store(recipe)
    yield lambda: check_disk(recipe, folder)
    yield lambda: check_begun(recipe, folder)
