"""Estimate what follows the data: the teacher's vectors, training and evaluation."""

import math

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
from distill.recipe import Student, Train

_SAMPLED = 128
"""Examples on which a validation measures signs of collapse."""
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
    seconds = sum_amounts(
        _estimate_seconds(context, recipe.student, train, examples) for train in stages
    )
    note = f"{examples.text} examples, {make_bounded_amount(plain).text} texts"
    return [*lines, _make_line("student", steps, seconds or UNKNOWN, note)]


def _estimate_static(context: EstimateContext, train: Train, examples: Amount) -> StageEstimate:
    """Estimate the training of the static encoder, after the fit of its token vectors."""
    steps = _estimate_steps(context, train, examples)
    student = context.recipe.student.make_static()
    seconds = _estimate_seconds(context, student, train, examples)
    return _make_line(STATIC, steps, seconds, "token vectors")


def _make_line(stage: str, steps: Amount, seconds: Amount, note: str) -> StageEstimate:
    """Make the line of a training, which says whether its time is measured."""
    known = "by steps timed here" if seconds.high is not None else "time is not measured"
    return StageEstimate(stage, steps, "steps", seconds=seconds, note=f"{note}; {known}")


def _estimate_seconds(
    context: EstimateContext, student: Student, train: Train, examples: Amount
) -> Amount:
    """Estimate the seconds of one training stage's steps, at most: of its rows, and of what a step
    takes whatever its rows are."""
    speed = context.students.measure_steps(
        student, context.recipe.train, train, _count_documents(context, train), context.corpus_size
    )
    if speed is None:
        return UNKNOWN
    steps = _estimate_steps(context, train, examples).high or 0.0
    rows = (examples.high or 0.0) * train.epochs
    if train.max_steps is not None:
        rows = min(rows, train.max_steps * train.batch_size)
    texts = _count_plain_texts(train) * train.epochs
    trained = rows * speed.example + texts * speed.text + steps * (speed.step + speed.corpus)
    return make_bounded_amount(trained) + _estimate_validation(context, student, train, steps)


def _estimate_validation(
    context: EstimateContext, student: Student, train: Train, steps: float
) -> Amount:
    """Estimate the seconds in which the student is looked at: before the first step, at every
    validation and at the end, where it embeds a sample of the examples and what is held out."""
    each = context.students.measure_texts(student, context.recipe.train)
    if each is None:
        return UNKNOWN
    settings = train.validation
    queries = documents = float(_SAMPLED)
    if settings.share:
        queries += settings.queries
        documents += min(settings.passages, context.corpus_size)
    if train.objective.trains_queries_alone:
        documents = 0.0
    texts = each.query.multiply(queries) + each.document.multiply(documents)
    return make_bounded_amount(3 + steps // settings.every).multiply(texts)


def _count_documents(context: EstimateContext, train: Train) -> int:
    """Count the documents of an example that are embedded in training, at most."""
    own = 1 + context.recipe.relabel.negative_count
    if train.objective.multi_positive:
        most = train.multi_positive.max_candidates
    elif train.objective.kl and train.kl.candidates == "all":
        most = train.kl.max_candidates
    else:
        return own
    candidates = context.count_candidates()
    return max(own, candidates if most is None else min(most, candidates))


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
    each, dimensions = context.measure_teacher()
    seconds = UNKNOWN if each == UNKNOWN else texts.multiply(each)
    note = "the passages' vectors are the retriever's" if there else ""
    disk = compute_disk(texts, dimensions)
    return StageEstimate("teacher vectors", texts, "texts", seconds=seconds, disk=disk, note=note)


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
