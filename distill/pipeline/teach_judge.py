"""The judge within a run: an LLM ranks short lists of some queries, a small cross-encoder learns
from them, and then ranks the wide lists of all queries."""

import logging
from pathlib import Path

from distill.llm.lazy import LazyLLM
from distill.pipeline.inner_run import open_inner_run
from distill.recipe import Recipe
from distill.relabel.rankers.passes import RankerSettings
from distill.relabel.stages import label_candidates
from distill.relabel.teaching import make_teaching_rule, select_queries
from distill.retrieve.self_test import SelfTest
from distill.store.run import Run
from distill.store.stage import Stage
from distill.train.data.soft_labels import needs_labels
from distill.train.judge.base import JudgeTraining, check_encoder
from distill.train.judge.stage import make_judge

_log = logging.getLogger(__name__)


def teach_judge(
    run: Run, recipe: Recipe, passages: Stage, queries: Stage, llm: LazyLLM, judged: Path
) -> Stage:
    """Have the recipe's `judge.rankers` rank `judge.top_k` candidates of `judge.queries` queries,
    and train the judge on what they say. Their labels are in `round-judge`.

    Raises:
        UserError: as relabelling and `make_judge` do.
    """
    training = JudgeTraining.select(recipe)
    check_encoder(training.judge, training.encoder)
    rule = make_teaching_rule(recipe.relabel, recipe.judge)
    teaching = RankerSettings.select(recipe)._replace(rule=rule)
    with open_inner_run(run, "judge") as inner:
        fewer = select_queries(inner, queries, recipe.judge.queries, recipe.seed)
        labels, _ = label_candidates(inner, teaching, passages, fewer, llm, judged)
    llm.make_room()
    run.workers.dismiss_all()
    return make_judge(run, training, passages, fewer, labels)


def put_judge(recipe: Recipe, judge: Stage) -> Recipe:
    """Return the recipe with the trained judge as its cross-encoder. Where `relabel.weights: auto`
    leaves out rankers that do harm, one that fails its self-test is left out at once, unless
    training learns from its scores; otherwise relabelling refuses it."""
    figures = judge.manifest["figures"]
    result = SelfTest(figures["known_pairs"], figures["known_pairs_won"])
    rule = recipe.relabel
    others = [ranker for ranker in rule.rankers if ranker != "cross_encoder"]
    settings: dict[str, object] = {
        "cross_encoder": str(judge.folder),
        "cross_encoder_tokens": recipe.judge.max_tokens,
    }
    needed = needs_labels(recipe.train) or not others or "cross_encoder" in rule.cascade.by
    if result.at_random and rule.weights == "auto" and not needed:
        _log.warning("the judge is left out of relabel.rankers, for it ranks at random")
        settings["rankers"] = others
    return recipe.model_copy(update={"relabel": rule.model_copy(update=settings)})
