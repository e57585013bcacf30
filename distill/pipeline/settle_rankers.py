"""Prepare the rankers before a run relabels: train the judge, and find the rankers' weights."""

from pathlib import Path

from distill.llm.lazy import LazyLLM
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import Stage


def settle_rankers(
    run: Run, recipe: Recipe, passages: Stage, queries: Stage, llm: LazyLLM, judged: Path
) -> Recipe:
    """Return the recipe with the judge that it trains as cross-encoder, and with the weights that
    the check of rankers gives instead of `auto`."""
    if recipe.trains_judge:
        from distill.pipeline.teach_judge import put_judge, teach_judge

        recipe = put_judge(recipe, teach_judge(run, recipe, passages, queries, llm, judged))
    if recipe.relabel.weights == "auto":
        from distill.pipeline.weigh_rankers import weigh_rankers

        recipe = weigh_rankers(run, recipe, passages, llm, judged)
    return recipe
