"""Estimate what follows the data: the teacher's vectors, training and evaluation."""

import math
from pathlib import Path

from distill.corpus.held_out import HELD_OUT, JUDGED, KNOWN_ITEM
from distill.estimate.amounts import (
    UNKNOWN,
    ZERO,
    Amount,
    StageEstimate,
    make_bounded_amount,
    make_exact_amount,
    sum_amounts,
)
from distill.estimate.context import EstimateContext, compute_disk
from distill.estimate.measure import EmbeddedText
from distill.recipe import Train
from distill.tasks import iterate_corpus_texts, iterate_query_texts, open_recipe_task
from distill.tasks.labelled import is_labelled_file

STATIC = "round-static/student"
"""The training of the static encoder that `student.add_static` adds."""


def estimate_training(
    context: EstimateContext, queries: Amount, others: Amount
) -> list[StageEstimate]:
    """Estimate the teacher's vectors and the training of the student.

    Args:
        queries: examples with passages of the corpus.
        others: examples with texts of their own.
    """
    examples = queries + others
    recipe = context.recipe
    stages = list(recipe.train.list_stages().values())
    added = recipe.student.add_static
    taught = (
        added is not None
        or recipe.student.architecture == "static"
        or any(train.objective.needs_teacher_vectors for train in stages)
    )
    plain = max(map(_count_plain_texts, stages))
    lines = [_estimate_teacher(context, examples, others)] if taught else []
    if added is not None:
        lines.append(_estimate_static(context, recipe.train.make_static(added), examples))
    steps = sum_amounts(_estimate_steps(context, train, examples) for train in stages) or ZERO
    note = (
        f"{examples.text} examples, {make_bounded_amount(plain).text} texts; time is not measured"
    )
    return [*lines, StageEstimate("student", steps, "steps", seconds=UNKNOWN, note=note)]


def _estimate_static(context: EstimateContext, train: Train, examples: Amount) -> StageEstimate:
    """Estimate the steps of the static encoder's training."""
    steps = _estimate_steps(context, train, examples)
    note = "token vectors; time is not measured"
    return StageEstimate(STATIC, steps, "steps", seconds=UNKNOWN, note=note)


def _estimate_teacher(context: EstimateContext, examples: Amount, others: Amount) -> StageEstimate:
    """Estimate the embedding of queries, the corpus, sentences of it, and documents of examples
    without a corpus. Where the retriever is the teacher too, the corpus' vectors are there
    already."""
    teacher, retriever = context.recipe.teacher, context.recipe.retriever
    same = (teacher.model, teacher.max_tokens) == (retriever.model, retriever.max_tokens)
    there = same and context.embedded
    corpus = ZERO if there else make_exact_amount(context.corpus_size)
    texts = (
        corpus
        + examples
        + others.multiply(2)
        + make_bounded_amount(context.recipe.train.align.sentences)
    )
    each, dimensions = measure_teacher(context)
    seconds = UNKNOWN if each == UNKNOWN else texts.multiply(each)
    note = "the passages' vectors are the retriever's" if there else ""
    disk = compute_disk(texts, dimensions)
    return StageEstimate("teacher vectors", texts, "texts", seconds=seconds, disk=disk, note=note)


def measure_teacher(context: EstimateContext) -> EmbeddedText:
    """Measure what a text takes of the teacher; unknown without a teacher, and for a server."""
    of = context.recipe.teacher
    if of.model is None or of.base_url is not None:
        return EmbeddedText(UNKNOWN, None)
    return context.embedding.measure(of.model, of)


def _count_plain_texts(train: Train) -> int:
    return train.align.passages + train.align.sentences if train.objective.align else 0


def _estimate_steps(context: EstimateContext, train: Train, examples: Amount) -> Amount:
    """Estimate the steps of one training stage. Batches hold examples with one number of negatives:
    each number may leave one half full."""
    numbers = context.recipe.relabel.negative_count + 1
    full = math.ceil((examples.high or 0) / train.batch_size) + max(2, numbers) - 1
    of_texts = math.ceil(_count_plain_texts(train) / train.align.batch_size)
    steps = math.ceil(train.epochs * (full + of_texts))
    return make_bounded_amount(min(steps, train.max_steps or steps))


def estimate_evaluation(context: EstimateContext) -> list[StageEstimate]:
    """Estimate evaluation: the tasks' texts, for each of base, student and teacher; unknown for a
    task that is on the hub."""
    recipe = context.recipe
    if not (recipe.evaluate.tasks or recipe.evaluate.benchmarks):
        return []
    sizes = {name: _count_texts(name, context) for name in recipe.evaluate.tasks}
    known = sum(size for size in sizes.values() if size is not None)
    unread = [name for name, size in sizes.items() if size is None] + recipe.evaluate.benchmarks
    models = 2 + (recipe.teacher.model is not None)
    texts = Amount(known * models, None if unread else known * models)
    note = f"{known:,} texts for each of {models} models; base and student are not measured"
    if unread:
        note += f"; {', '.join(unread)}: size unknown, read from the hub"
    each = measure_teacher(context).seconds
    least = known * each.low if each != UNKNOWN else 0.0
    return [StageEstimate("evaluation", texts, "texts", seconds=Amount(least, None), note=note)]


def _count_texts(name: str, context: EstimateContext) -> int | None:
    """Count the rows of a task's files, such as documents and queries, if they are on this
    machine."""
    if name == HELD_OUT:
        return None if context.held_out is None else 2 * int(context.held_out.manifest["rows"])
    if name == JUDGED:
        return None if context.held_out_passages is None else _count_judged_texts(context)
    if name == KNOWN_ITEM:
        known_item, held_out = context.recipe.evaluate.known_item, context.held_out_size
        return (
            max(held_out, min(known_item.passages, held_out + context.corpus_size))
            + known_item.queries
        )
    if is_labelled_file(name):
        recipe = context.recipe
        task = open_recipe_task(recipe.evaluate, recipe.own_corpus, recipe.seed, name)
        return sum(
            1 for texts in (iterate_corpus_texts(task), iterate_query_texts(task)) for _ in texts
        )
    data = context.recipe.evaluate.task_data
    folder = Path(data) / name if data else None
    if folder is None or not folder.is_dir():
        return None
    return sum(_count_lines(file) for file in folder.iterdir() if file.suffix in (".jsonl", ".tsv"))


def _count_judged_texts(context: EstimateContext) -> int:
    """Count what the judged pool searches and asks, at most."""
    pool, held_out = context.recipe.evaluate.judged, context.held_out_size
    return max(held_out, min(pool.passages, held_out + context.corpus_size)) + pool.queries


def _count_lines(path: Path) -> int:
    """Count the lines that are not empty."""
    with path.open("rb") as file:
        return sum(bool(line.strip()) for line in file)
