"""Checks soft labels before an LLM's judgements are paid for: that they can be had at all, and
that a cascade of rankers does not leave them unknown."""

from collections.abc import Iterator

from distill.recipe import Recipe, Train
from distill.recipe.needs import check_score_sources
from distill.recipe.sections.objective import SoftScoreChoice, list_needed_rankers


def check_soft_labels(recipe: Recipe) -> list[str]:
    """Return a notice for each term of the objective that learns from scores which the hard
    negatives lack: the lowest candidates are those that a cascade leaves unjudged. Queries with
    few candidates may have such scores all the same.

    Raises:
        UserError: for scores that nobody gives.
    """
    check_score_sources(recipe)
    rule = recipe.relabel
    lowest = rule.negatives == "lowest" and rule.negative_count <= rule.top_k - rule.cascade.keep
    if not recipe.generate.from_passages or not rule.cascade.by or not lowest:
        return []
    judging_all = {*rule.cascade.by, "retriever"}
    return [
        f"{key} {' and '.join(unknown)}: relabel.cascade leaves it unknown for the lowest "
        "candidates, which relabel.negatives: lowest chooses as hard negatives, so that nothing is "
        "learnt from it; set relabel.negatives: hardest, or train.kl.candidates: all"
        for stage in recipe.train.list_stages().values()
        for key, choice in _list_learnt(stage)
        if (unknown := [of for of in list_needed_rankers(choice) if of not in judging_all])
    ]


def _list_learnt(train: Train) -> Iterator[tuple[str, SoftScoreChoice]]:
    """List the scores that a training stage learns from of the chosen candidates, by their keys."""
    if train.objective.kl and train.kl.candidates == "chosen":
        yield "train.kl.scores", train.kl.scores
    if train.objective.margin_mse:
        yield "train.margin_mse.scores", train.margin_mse.scores
