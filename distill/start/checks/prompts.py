"""Checks of a recipe's prompts: each is read, and rendered with a short text."""

from collections.abc import Callable, Iterator
from functools import partial

from distill.corpus.held_out import JUDGED
from distill.generate.passages.conditions import draw_conditions, load_personas
from distill.generate.passages.method import open_method
from distill.generate.settings import WritingSettings
from distill.llm.prompts import Prompt, load_prompt
from distill.recipe import Recipe

_PASSAGE = {"passage_id": "0", "title": "A title", "text": "A passage.", "source": ""}
_QUERY = "a query"


def list_prompt_checks(recipe: Recipe) -> Iterator[Callable[[], list[str]]]:
    """List a check for each prompt that the recipe uses, with its few-shot examples."""
    writing = WritingSettings.select(recipe)
    if recipe.generate.writes_queries:
        if "fret" in recipe.generate.methods:
            yield lambda: _check_file(writing)  # its few-shot examples may be at fault, too
        yield lambda: _check_generation(writing)
    if JUDGED in recipe.evaluate.tasks:
        yield lambda: _check_held_out(recipe)
        yield lambda: _check_pool_judge(recipe)
    relabels = recipe.has_corpus and recipe.generate.from_passages
    for judge in recipe.relabel.judges if relabels else ():
        if judge in ("ql", "rc", "graded"):
            yield partial(_check_score, recipe, judge)
        elif judge == "listwise":
            yield lambda: _check_list(recipe)


def _check_file(writing: WritingSettings) -> list[str]:
    load_prompt(writing.generate.prompt, writing.folder, parts=1)
    return []


def _check_generation(writing: WritingSettings) -> list[str]:
    personas = load_personas(writing.generate.personas, writing.folder)
    conditions = draw_conditions(writing.generate, personas, writing.seed, 0, "0", 0)
    open_method(writing).render_prompt(_PASSAGE, conditions, False)
    return []


def _check_held_out(recipe: Recipe) -> list[str]:
    """Check the prompt of held-out queries and its few-shot examples."""
    from distill.generate.held_out import settle_writing  # with it come torch and others

    writing = settle_writing(WritingSettings.select(recipe), recipe.evaluate.judged)
    _check_file(writing)
    return _check_generation(writing)


def _check_pool_judge(recipe: Recipe) -> list[str]:
    from distill.evaluate.judged.judge import load_judge_prompt

    return _check_pair_prompt(load_judge_prompt(recipe.evaluate.judged, recipe.folder))


def _check_score(recipe: Recipe, judge: str) -> list[str]:
    file = getattr(recipe.relabel, f"prompt_{judge}")
    return _check_pair_prompt(load_prompt(file, recipe.folder, parts=2))


def _check_pair_prompt(prompt: Prompt) -> list[str]:
    prompt.render(passage=_PASSAGE["text"])
    prompt.render(1, query=_QUERY, verdict="yes")
    return []


def _check_list(recipe: Recipe) -> list[str]:
    prompt = load_prompt(recipe.relabel.prompt_listwise, recipe.folder, parts=1)
    prompt.render(query=_QUERY, passages=[_PASSAGE["text"]] * 2, chat=False)
    return []
