"""The test of a run whose recipe names no evaluation task: chosen once, when it begins,
before anything is spent. From then on the passages that were made stand for the choice."""

from pathlib import Path
from typing import Any, NamedTuple

from distill.corpus.docstrings import source as docstrings
from distill.corpus.held_out import HELD_OUT, JUDGED, KNOWN_ITEM
from distill.corpus.input import find_input
from distill.corpus.passages import open_source
from distill.errors import UserError
from distill.files.read_yaml import parse_yaml
from distill.object_store.address import is_store_address
from distill.object_store.copy_in import read_stored_manifest
from distill.recipe import Recipe, override
from distill.recipe.needs import needs_llm
from distill.runtime.progress import show_activity
from distill.start.checks.models import guess_parameters
from distill.start.choice.held_out import (
    LEAST_DOCUMENTS,
    LEAST_SEARCHABLE,
    QUERIES_IN_PROCESS,
    HoldOut,
    choose_to_judge,
    choose_to_search,
    is_enough_to_judge,
    is_enough_to_search,
)
from distill.start.choice.models import SMALL_LLM
from distill.start.survey import SurveyCounts, count_corpus, expect_drawn
from distill.store.integrity import read_manifest

NOTHING = HoldOut(0.0)
_INSTEAD = (
    "the student will not be measured, unless evaluate.tasks names questions and answers of your "
    "own: [questions.csv]"
)

_UNREADABLE = "test: none was chosen, for the corpus cannot be read"
_LATER = "test: chosen when the run begins, by what the corpus has, which is read then"


class SettledTest(NamedTuple):
    """A recipe with the share of documents that its run holds out, and with the tasks that are made
    of them. `said`: what was chosen, or why nothing; None where there was nothing to choose."""

    recipe: Recipe
    said: str | None = None


def settle_test(
    recipe: Recipe, folder: Path, *, fetches: bool = True, judges: bool = True
) -> SettledTest:
    """Settle which documents a run holds out, and what it is measured on.

    What the recipe says is kept, and so are passages that the run has made already. Only where the
    recipe names no tasks, and the run has not begun, the corpus is looked at.

    Args:
        folder: of the run.
        fetches: whether a corpus that lies elsewhere, such as on a hub, may be fetched for it.
        judges: whether the task may be one that the LLM judges.
    """
    if recipe.corpus.held_out is not None:
        return _settle_task(recipe, folder, fetches, judges)
    if not recipe.has_corpus:
        none = f"test: none: there is no corpus of which documents could be held out; {_INSTEAD}"
        return SettledTest(_put(recipe, NOTHING), None if recipe.evaluate.names_tasks else none)
    made = _read_hold_out(recipe, folder)
    if made is not None or recipe.evaluate.names_tasks:
        return SettledTest(_put(recipe, made or NOTHING, judges))
    if not fetches and is_elsewhere(recipe):
        return SettledTest(recipe, _LATER)
    try:
        counts = _count(recipe)
    except UserError:  # whoever reads the corpus is told why
        return SettledTest(recipe, _UNREADABLE)
    chosen = _choose_hold_out(recipe, counts, judges)
    settled = _put(recipe, chosen or NOTHING, judges)
    if chosen is None:
        return SettledTest(settled, f"test: none: {_describe_too_few(recipe, counts, judges)}")
    return SettledTest(settled, f"test: {_describe(settled)}")


def _settle_task(recipe: Recipe, folder: Path, fetches: bool, judges: bool) -> SettledTest:
    """Settle the task of a recipe that says which share is held out. A run that has begun keeps
    what its own copy of the recipe says: with no task there, it ends without a verdict as before.
    """
    share, by = recipe.corpus.held_out_share, recipe.corpus.hold_out_by
    if not share or not recipe.has_corpus or recipe.evaluate.names_tasks:
        return SettledTest(recipe)
    begun = _names_task_in_copy(folder)
    if begun is not None:
        return SettledTest(_put(recipe, HoldOut(share, by), judges) if begun else recipe)
    if not fetches and is_elsewhere(recipe):
        return SettledTest(recipe, _LATER)
    try:
        counts = _count(recipe)
    except UserError:
        return SettledTest(recipe, _UNREADABLE)
    if not _holds_out_enough(recipe, counts, judges):
        what = f"of {counts.whole_documents:,} documents {share:.0%} are too few; {_INSTEAD}"
        return SettledTest(recipe, f"test: none: {what}")
    settled = _put(recipe, HoldOut(share, by), judges)
    return SettledTest(settled, f"test: {_describe(settled)}")


def _names_task_in_copy(folder: Path) -> bool | None:
    """Return whether the run's own copy of its recipe names a task; None for a run that has not
    begun. A store has no copy: a run that goes on from there chooses as it did in its beginning."""
    copy = folder / "recipe.yaml"
    if copy.is_file() and any(folder.glob("*/.stage/manifest.json")):
        evaluate = (parse_yaml(copy.read_text("utf-8"), str(copy)) or {}).get("evaluate") or {}
        return bool(evaluate.get("tasks") or evaluate.get("benchmarks"))
    return None


def _holds_out_enough(recipe: Recipe, counts: SurveyCounts, judges: bool) -> bool:
    by_section, share = recipe.corpus.hold_out_by == "section", recipe.corpus.held_out_share
    if _choose_task(recipe, judges) == JUDGED:
        documents = counts.sections if by_section else counts.whole_documents
        return is_enough_to_judge(documents, share)
    searchable = counts.searchable_sections if by_section else counts.searchable
    return is_enough_to_search(searchable, share)


def is_elsewhere(recipe: Recipe) -> bool:
    """Return whether the corpus lies on a hub or in an object store."""
    corpus = recipe.corpus
    if corpus.source == "docstrings":
        return False
    if corpus.source == "dataset" or corpus.path is None:
        return corpus.dataset is not None
    return is_store_address(corpus.path)


def _read_hold_out(recipe: Recipe, folder: Path) -> HoldOut | None:
    """Read what was held out when a run's passages were made; None where it has none yet."""
    file = folder / "passages" / ".stage" / "manifest.json"
    manifest = read_manifest(file) if file.is_file() else _read_stored_manifest(recipe)
    if manifest is None:
        return None
    settings = manifest["settings"]
    share = settings.get("held_out", settings.get("source", {}).get("held_out", 0.0))
    return HoldOut(share, settings.get("hold_out_by", "document"))


def _read_stored_manifest(recipe: Recipe) -> dict[str, Any] | None:
    """Read the manifest of the passages in the recipe's store, if it has them. A store that cannot
    be used is no matter here: what opens the run says so."""
    if recipe.store is None:
        return None
    try:
        return read_stored_manifest(recipe.store, "passages")
    except UserError:
        return None


def _put(recipe: Recipe, chosen: HoldOut, judges: bool = True) -> Recipe:
    """Return the recipe with what is held out and, if it names no task, with one."""
    held = {"held_out": chosen.share} | ({"hold_out_by": chosen.by} if chosen.share else {})
    if not chosen.share or recipe.evaluate.names_tasks:
        return recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update=held)})
    task, pool = _choose_task(recipe, judges), recipe.evaluate.judged
    settings: dict[str, Any] = {f"corpus.{key}": value for key, value in held.items()}
    settings["evaluate.tasks"] = [task]
    in_process = (pool.llm or recipe.llm).engine == "transformers"
    if task == JUDGED and in_process and "queries" not in pool.model_fields_set:
        settings["evaluate.judged.queries"] = QUERIES_IN_PROCESS
    return override(recipe, settings)


def _choose_task(recipe: Recipe, judges: bool) -> str:
    """Choose the task by what the recipe works with anyway: an LLM judges, if there is one, and it
    is not known to be small. The order in which a 135M one puts models is not that of people's
    judgments (benchmarks/RESULTS.md)."""
    judge = recipe.evaluate.judged.llm
    is_small = (guess_parameters((judge or recipe.llm).model) or SMALL_LLM) < SMALL_LLM
    if judges and not is_small and (needs_llm(recipe) or judge is not None):
        return JUDGED
    return HELD_OUT if recipe.corpus.source == "docstrings" else KNOWN_ITEM


def _choose_hold_out(recipe: Recipe, counts: SurveyCounts, judges: bool) -> HoldOut | None:
    if _choose_task(recipe, judges) == JUDGED:
        return choose_to_judge(counts.whole_documents, counts.sections)
    return choose_to_search(counts.searchable, counts.searchable_sections)


@show_activity("looking at the corpus")
def _count(recipe: Recipe) -> SurveyCounts:
    """Count what the recipe's corpus has; of passages that `corpus.limit` draws, the documents that
    they may be expected to be of. Sections of which passages are drawn are not counted.

    Raises:
        UserError: if the corpus cannot be read.
    """
    corpus = recipe.corpus
    if corpus.source == "docstrings":
        return _count_docstrings(recipe)
    path = None if corpus.path is None or corpus.source == "dataset" else find_input(corpus.path)
    counts = count_corpus(open_source(corpus, recipe.seed), path, corpus.max_tokens)
    if corpus.limit is None or corpus.limit >= counts.passages:
        return counts
    drawn = expect_drawn(counts.whole_documents, counts.passages, corpus.limit)
    share = drawn / max(1, counts.whole_documents)
    return SurveyCounts(drawn, round(counts.searchable * share), corpus.limit)


def _count_docstrings(recipe: Recipe) -> SurveyCounts:
    """Count objects, and those whose summary asks for the rest of their docstring."""
    every = recipe.corpus.model_copy(update={"held_out": 1.0})
    pairs, counts = docstrings.make_held_out_pairs(every, recipe.seed)
    return SurveyCounts(counts["held out"], len(pairs), counts["held out"])


def _describe(recipe: Recipe) -> str:
    (task,) = recipe.evaluate.tasks
    how = {
        JUDGED: "the LLM asks about these and judges the answers",
        KNOWN_ITEM: "each of these is searched for by its title, or by a sentence out of it",
        HELD_OUT: "the first sentence of each of these asks for the rest",
    }
    return (
        f"{task}: the recipe names no evaluation task, so {recipe.corpus.held_out_share:.0%} of "
        f"the {recipe.corpus.hold_out_by}s are held out of training, and {how[task]}; "
        "corpus.held_out: 0 holds none out"
    )


def _describe_too_few(recipe: Recipe, counts: SurveyCounts, judges: bool) -> str:
    if _choose_task(recipe, judges) == JUDGED:
        documents, sections, least = counts.whole_documents, counts.sections, LEAST_DOCUMENTS
        kind = "documents"
    else:
        documents, sections = counts.searchable, counts.searchable_sections
        kind, least = "documents with a title or sentence of their own", LEAST_SEARCHABLE
    parts = f" and {sections:,} sections of them" if sections > documents else ""
    return (
        f"{documents:,} {kind}{parts} are too few to hold some out, {least} are needed; {_INSTEAD}"
    )
