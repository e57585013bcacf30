"""Write a first recipe for a corpus, and check a recipe before it runs."""

import logging
from importlib.util import find_spec
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill.api.session import RecipeOrFile, find_run, load_recipe, settle_run_test
from distill.errors import UserError
from distill.files.read import parse_path
from distill.object_store.address import is_store_address
from distill.recipe import Recipe
from distill.runtime.processes import is_main
from distill.store.run import Overwrite

if TYPE_CHECKING:
    from distill.start.check import CheckResult
    from distill.start.init import Proposal

_logger = logging.getLogger(__name__)


INIT_RECIPE = "init.yaml"
"""In a run's folder: the recipe that was written for its corpus."""


class InitResult(NamedTuple):
    """A recipe that was written, and what it was chosen by."""

    file: Path
    proposal: "Proposal"


def init(
    corpus: str | Path,
    out: str | Path | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> InitResult:
    """Write a first recipe for a corpus: it looks at the texts, at this machine, and at the models
    that are served, cached or installed. No model is loaded.

    >>> init("docs/").file
    PosixPath('docs.yaml')

    Args:
        corpus: a file or folder of texts or rows, or its address in an object store.
        out: the file to write; by default NAME.yaml in the working folder.
        name: the run's name; by default made from the corpus' path.
        overwrite: whether a file that exists is overwritten.

    Raises:
        UserError: if the corpus cannot be read, or the file exists.
    """
    from distill.start.init import name_run, propose_recipe
    from distill.start.write import check_target, write_recipe

    path, address = _find_corpus(corpus)
    file = Path(f"{name or name_run(path)}.yaml") if out is None else parse_path(fspath(out))
    check_target(file, overwrite)
    proposal = propose_recipe(path, name, address)
    return InitResult(write_recipe(file, proposal.text), proposal)


def load_recipe_for(
    corpus: str | Path, settings: list[str], folder: str | Path | None = None
) -> tuple[Recipe, Path]:
    """Load the recipe of a corpus' run and name its folder. The first time `init` writes the recipe
    into that folder, as init.yaml; later the same one is read.

    Args:
        corpus: a file or folder of texts or rows, or its address in an object store.
        settings: keys to set to other values, as `a.b=value` in YAML.
        folder: the run's folder; by default artifacts/NAME, with a name made from the corpus' path.

    Raises:
        UserError: if the corpus cannot be read, or the folder is the corpus itself or holds the run
            of another one.
    """
    from distill.start.init import name_run, propose_recipe
    from distill.start.write import write_recipe

    path, address = _find_corpus(corpus)
    place = Path("artifacts") / name_run(path) if folder is None else parse_path(fspath(folder))
    if place.resolve() == path.resolve():
        what = "is the corpus, in which the run would write its files"
        raise UserError(str(place), what, "name another folder with --run")
    file = place / INIT_RECIPE
    if not file.exists():
        if (place / "recipe.yaml").exists():
            raise UserError(
                str(place),
                "holds a run that was not begun with --corpus alone",
                "name its recipe, or another folder with --run",
            )
        text = propose_recipe(path, address=address).text
        place.mkdir(parents=True, exist_ok=True)
        _logger.info("recipe: %s", write_recipe(file, text))
    recipe = load_recipe(file, settings)
    if recipe.corpus.path != (address or str(path.resolve())):
        raise UserError(
            str(place),
            f"holds the run of another corpus, {recipe.corpus.path}",
            "name another folder with --run",
        )
    return recipe, place


def settle_source(settings: list[str], folder: Path | None) -> list[str]:
    """Settle settings (KEY=VALUE) of a run without a recipe: where they say where the corpus lies,
    and not what it is, it is read as whatever lies there."""
    keys = {setting.partition("=")[0] for setting in settings}
    has_begun = folder is not None and (folder / "recipe.yaml").is_file()
    if has_begun or "corpus.path" not in keys or "corpus.source" in keys:
        return settings
    return ["corpus.source=auto", *settings]


def _find_corpus(corpus: str | Path) -> tuple[Path, str | None]:
    """Return the path of a corpus, and its address where it lies in an object store."""
    from distill.corpus.input import find_input

    text = fspath(corpus)
    return find_input(text), text if is_store_address(text) else None


def check(recipe: RecipeOrFile, folder: str | Path | None = None) -> "CheckResult":
    """Look for everything that would end a run of the recipe later: files, columns, tasks, models,
    servers, prompts, packages and free disk. No model is loaded and nothing is written.

    >>> check("mine.yaml", "runs/mine").faults
    []

    Args:
        folder: where the run would be written; by default `artifacts/NAME`.

    Raises:
        UserError: if the recipe itself is not valid.
    """
    from distill.start.check import check_recipe
    from distill.start.checks.data import NO_TASKS

    recipe, place = find_run(recipe, folder)
    test = settle_run_test(recipe, place, fetches=False)
    result = check_recipe(test.recipe, place)
    if test.said is None:
        return result
    # What was chosen, or why nothing was, says more than that the recipe names no task.
    notices = [notice for notice in result.notices if notice != NO_TASKS]
    return result._replace(notices=[test.said, *notices])


def check_first(recipe: Recipe, folder: Path, models: bool = True) -> None:
    """Check a recipe before anything is spent on it. A run that has begun was checked then: to end
    it, a server that wrote its queries need not be there any more.

    Args:
        models: whether its models must be reachable.

    Raises:
        UserError: naming all faults.
    """
    if not is_main() or _has_begun(recipe, folder):
        return
    from distill.start.check import check_recipe, raise_faults

    result = check_recipe(recipe, folder, models)
    for notice in result.notices:
        _logger.warning("%s", notice)
    raise_faults(recipe, result.faults)


def choose_overwrite(recipe: Recipe, folder: Path, overwrite: Overwrite) -> Overwrite:
    """Let a run that has spent nothing read its corpus anew after a change of settings or files, as
    between `distill estimate` and the first `distill run`. What stood is kept in `superseded/`."""
    return "stale" if overwrite == "never" and not _has_begun(recipe, folder) else overwrite


def _has_begun(recipe: Recipe, folder: Path) -> bool:
    """Return whether the run has spent something, on this machine or on one that copied it to the
    store."""
    from distill.start.checks.begun import READ_ALONE

    stages = {path.parent.parent.name for path in folder.glob("*/.stage/manifest.json")}
    if not stages and recipe.store is not None and find_spec("obstore") is not None:
        from distill.object_store.copy_in import list_stages

        stages = list_stages(recipe.store)
    return bool(stages - READ_ALONE)
