"""Estimate evaluation: the texts of its tasks, embedded by base, student and teacher."""

from pathlib import Path

from distill.corpus.held_out import HELD_OUT, JUDGED, KNOWN_ITEM
from distill.estimate.amounts import UNKNOWN, Amount, StageEstimate, make_bounded_amount
from distill.estimate.context import EstimateContext
from distill.tasks import iterate_corpus_texts, iterate_query_texts, open_recipe_task
from distill.tasks.labelled import is_labelled_file


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
    note = f"{known:,} texts for each of {models} models; without their speed and the statistics"
    if unread:
        note += f"; {', '.join(unread)}: size unknown, read from the hub"
    seconds = _estimate_seconds(context, known)
    if unread:
        seconds = Amount(seconds.low, None)
    return [StageEstimate("evaluation", texts, "texts", seconds=seconds, note=note)]


def _estimate_seconds(context: EstimateContext, texts: int) -> Amount:
    """Estimate the time that base, student and teacher take to embed these texts. Base and student
    are of one size. A query encoder embeds queries alone, of which no more is known than that they
    are among the texts."""
    recipe = context.recipe
    student = context.students.measure_texts(recipe.student, recipe.train)
    if student is None:
        own = UNKNOWN
    elif recipe.student.route == "query":
        own = make_bounded_amount(2 * texts).multiply(student.query)
    else:
        own = student.document.multiply(2 * texts)
    if recipe.teacher.model is None:
        return own
    each = context.measure_teacher().seconds
    return own + (UNKNOWN if each == UNKNOWN else each.multiply(texts))


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
