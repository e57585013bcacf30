"""Estimate the task `judged`: queries written for held-out passages, and their judged answers."""

from dataclasses import replace

from distill.corpus.held_out import JUDGED
from distill.estimate.amounts import Amount, StageEstimate, make_bounded_amount, make_exact_amount
from distill.estimate.context import EstimateContext
from distill.estimate.judging import measure_judgements
from distill.estimate.measure import sample_prompts
from distill.estimate.prices import Prices
from distill.estimate.stages.generate import CANNOT_JUDGE
from distill.evaluate.judged.judge import get_judge_prompt_file
from distill.generate.held_out import settle_writing
from distill.generate.passages.method import open_method
from distill.generate.passages.plan import GenerationPlan
from distill.generate.settings import WritingSettings
from distill.recipe import Recipe

_OTHER_LLM = "counted by words: this LLM is not the recipe's own"


def estimate_judged_pool(context: EstimateContext, prices: Prices | None) -> list[StageEstimate]:
    """Estimate the stages `generations-held-out`, which queries of a log do not need, and `judged`;
    nothing where the recipe does not evaluate on them.

    Another LLM than the recipe's own is not asked: its prompts are counted.

    Raises:
        UserError: if `prices` does not name the LLM.
    """
    recipe, held_out = context.recipe, context.held_out_passages
    if JUDGED not in recipe.evaluate.tasks or held_out is None:
        return []
    writing = settle_writing(WritingSettings.select(recipe), recipe.evaluate.judged)
    written = _settle(recipe, writing)
    own = written.llm == recipe.llm
    there = replace(
        context,
        recipe=written,
        sample=context.sample if own else 0,
        price=None if prices is None else prices.find(written.llm.model),
    )
    note = "" if own or not context.sample else _OTHER_LLM
    plan = GenerationPlan(writing, held_out)
    sample = sample_prompts(writing, open_method(writing), plan, there.llm, there.sample)
    prompts = make_exact_amount(len(plan))
    lines = []
    if not recipe.holds_out_log:
        line = there.estimate_llm_stage(
            "generations-held-out", prompts, "prompts", prompts, sample.each, note
        )
        lines.append(line)
    pairs = _count_pairs(there, min(len(plan), recipe.evaluate.judged.queries))
    each = measure_judgements(there, recipe.evaluate.judged.judge, sample, 1)
    if each is None:
        return [*lines, StageEstimate(JUDGED, pairs, "pairs", note=CANNOT_JUDGE)]
    return [*lines, there.estimate_llm_stage(JUDGED, pairs, "pairs", pairs, each, note)]


def _settle(recipe: Recipe, writing: WritingSettings) -> Recipe:
    """Settle how held-out queries are written, with the pool's judge as that of relabelling."""
    pool = recipe.evaluate.judged
    judge = {
        f"prompt_{pool.judge}": get_judge_prompt_file(pool),
        "max_passage_words": pool.max_passage_words,
        "llm": None,
    }
    relabel = recipe.relabel.model_copy(update=judge)
    settled = recipe.model_copy(
        update={"generate": writing.generate, "llm": writing.llm, "relabel": relabel}
    )
    settled._folder = recipe.folder
    return settled


def _count_pairs(context: EstimateContext, queries: int) -> Amount:
    """Count the first passages of each model, of BM25, and of each model fused with BM25. They
    share many, at the most all."""
    models = 2 + (context.recipe.teacher.model is not None)
    pool = context.recipe.evaluate.judged
    passages = max(
        context.held_out_size, min(pool.passages, context.held_out_size + context.corpus_size)
    )
    return make_bounded_amount(queries * min(passages, pool.depth * (2 * models + 1)))
