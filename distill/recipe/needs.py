"""Find out what a recipe needs to be run."""

from distill.recipe.load import Recipe
from distill.recipe.sections.llm import LanguageModel


def needs_llm(recipe: Recipe) -> bool:
    """Return whether an LLM writes anything, or judges what was written or taken from passages."""
    return bool(list_llms(recipe))


def list_llms(recipe: Recipe) -> dict[str, LanguageModel]:
    """List the LLMs that a run asks before evaluation, by the keys that name them: `llm`, which
    writes, and which judges where `relabel.llm` names no other."""
    generate = recipe.generate
    writes = generate.writes_queries or "brainstorm" in generate.methods
    rankers = {*recipe.relabel.rankers, *(recipe.judge.rankers if recipe.trains_judge else [])}
    judges = generate.from_passages and bool({"ql", "rc", "graded", "listwise"} & rankers)
    same = recipe.judging_llm == recipe.llm
    named = {}
    if writes or (judges and same):
        named["llm"] = recipe.llm
    if judges and not same:
        named["relabel.llm"] = recipe.judging_llm
    return named
