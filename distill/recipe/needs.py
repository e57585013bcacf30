"""Find out what a recipe needs to be run."""

from distill.recipe.load import Recipe


def needs_llm(recipe: Recipe) -> bool:
    """Return whether the LLM writes anything, or judges what was written or taken from passages."""
    generate = recipe.generate
    writes = generate.writes_queries or "brainstorm" in generate.methods
    rankers = {*recipe.relabel.rankers, *(recipe.judge.rankers if recipe.trains_judge else [])}
    judges = {"ql", "rc", "graded", "listwise"} & rankers
    return writes or (generate.from_passages and bool(judges))
