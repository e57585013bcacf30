"""Estimate what a recipe takes, stage by stage, before anything is spent."""

from collections.abc import Callable

from distill.corpus.docstrings.held_out import make_held_out
from distill.corpus.held_out import JUDGED
from distill.corpus.passages import make_split_passages
from distill.errors import UserError
from distill.estimate.amounts import Estimate, StageEstimate
from distill.estimate.context import EstimateContext
from distill.estimate.measure import (
    EmbeddingSpeed,
    choose_evenly,
    count_texts_to_embed,
    measure_teacher,
)
from distill.estimate.prices import Prices
from distill.estimate.stages.evaluate import estimate_evaluation
from distill.estimate.stages.generate import estimate_examples, estimate_passages, estimate_queries
from distill.estimate.stages.judged_pool import estimate_judged_pool
from distill.estimate.stages.relabel import (
    estimate_check,
    estimate_judge,
    estimate_relabelling,
    estimate_rounds,
)
from distill.estimate.stages.train import estimate_training
from distill.estimate.storage import BYTES_A_ROW, BYTES_A_TOKEN, measure_passages
from distill.estimate.student_speed import StudentSpeed
from distill.llm.protocol import LLM
from distill.recipe import Recipe
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import join_passage


def estimate(
    run: Run,
    recipe: Recipe,
    llm: Callable[[], LLM],
    sample: int = 8,
    prices: Prices | None = None,
    judging_llm: Callable[[], LLM] | None = None,
) -> Estimate:
    """Estimate every stage of `recipe` from a corpus that is read, before any query is generated.

    The corpus is read into the run, if it is not there. What a server replies to the sampled
    prompts stays in the run's request cache, so that the run does not pay for it again. A
    sample of 0 asks no LLM and loads no model.

    Args:
        llm: opens the LLM that writes.
        judging_llm: opens the one that judges candidates; None: the one that writes.

    Raises:
        UserError: if a file that the recipe names cannot be read, the LLM cannot be asked, or
            `prices` does not name it.
    """
    if sample < 0:
        raise UserError(
            "--sample", f"is {sample}", "give 0 to measure nothing, or a number of prompts"
        )
    price = None if prices is None else prices.find(recipe.llm.model)
    passages, held_out_passages = (
        make_split_passages(run, recipe.corpus, recipe.seed, recipe.evaluate.tasks)
        if recipe.has_corpus
        else (None, None)
    )
    held_out = make_held_out(run, recipe.corpus, recipe.seed) if recipe.has_corpus else None
    texts = _read_some_texts(passages, count_texts_to_embed(sample))
    embedding = EmbeddingSpeed(texts)
    students = StudentSpeed(
        texts,
        passages,
        recipe.seed,
        lambda: measure_teacher(recipe.teacher, embedding).dimensions,
    )
    context = EstimateContext(
        recipe,
        passages,
        held_out,
        llm,
        sample,
        price,
        embedding,
        students,
        held_out_passages,
        measure_passages(passages),
        judging_llm,
        None if prices is None else prices.find(recipe.judging_llm.model),
    )

    lines = estimate_passages(context)
    of_queries, queries = estimate_queries(context)
    of_examples, others = estimate_examples(context, queries.sample)
    # The order in which a run does them, for its progress: held-out queries follow the others.
    pool = estimate_judged_pool(context, prices)
    written = [line for line in pool if line.stage != JUDGED]
    lines += of_queries + of_examples + written
    lines += estimate_judge(context, queries) + estimate_check(context, queries)
    relabelling = estimate_relabelling(context, queries)
    training = estimate_training(context, queries.number, others)
    lines += estimate_rounds(context, queries.number, relabelling, training)
    lines += pool[len(written) :]
    lines += estimate_evaluation(context)
    return Estimate(
        recipe.name, lines, _describe_basis(context, lines), prices.currency if prices else None
    )


def _read_some_texts(passages: Stage | None, count: int) -> list[str]:
    if passages is None or not count:
        return []
    reader = PassageReader(passages.folder)
    rows = reader.read_rows(choose_evenly(len(reader), count))
    return [join_passage(row) for row in rows]


def _describe_disk() -> str:
    """Say what bytes and shards rest on."""
    rows = ", ".join(f"{table} {size:.0f}" for table, size in BYTES_A_ROW.items())
    return (
        "Disk: passages as they are, with the copy in which they are looked up; vectors in full; "
        f"{BYTES_A_TOKEN:.0f} bytes a token of what an LLM writes; and bytes a row as measured "
        f"(benchmarks/scale.py): {rows}, and an example's passages beside. Without models, "
        "indexes, checkpoints and a server's replies. Shards are the files of rows."
    )


def _describe_basis(context: EstimateContext, stages: list[StageEstimate]) -> list[str]:
    """Say what the figures rest on, so that readers can judge them."""
    lines = [
        "≤: an upper bound, for how many queries pass the filters is not known before; ?: unknown.",
        "Time is not counted of: parsing, filtering, search and files.",
        _describe_disk(),
    ]
    has_prompts = any(stage.prompt_tokens is not None for stage in stages)
    if not context.sample:
        lines.append(
            "Nothing was measured (--sample 0): a word or punctuation mark counts as 4/3 tokens, "
            "a written query as half of max_new_tokens."
        )
    elif has_prompts:
        lines.append(
            f"The LLM's tokens and time: measured on {context.sample} prompts asked at once. Most "
            "engines are faster with more at once (--sample)."
        )
    if context.embedding.texts:
        count = len(context.embedding.texts)
        lines.append(f"Embedding: measured on this machine, on {count} passages.")
        lines.append(
            "Training: steps of the untrained student on these passages, timed on this machine, "
            "with their beginnings as queries; with validation, without checkpoints and what "
            "precedes the first step; of one process."
        )
    served = any(llm.engine == "http" for llm in (context.recipe.llm, context.recipe.judging_llm))
    if context.sample and served:
        lines.append("The sample's replies are kept: the run will not pay for them again.")
    if context.recipe.store is not None:
        lines.append(
            f"{context.recipe.store} will hold a copy of the run's folder, about three objects a "
            "shard; its price is not counted."
        )
    if context.price is None and served:
        lines.append("Cost: give --prices FILE.")
    faults = context.embedding.faults + context.students.faults
    return lines + [f"Not measured: {fault}." for fault in faults]
