"""Examples without a corpus: tasks first, then an example of each (E5-Mistral, section 3.1)."""

from distill.generate.brainstorm.examples import select_examples, write_examples
from distill.generate.brainstorm.placeholders import check_languages
from distill.generate.brainstorm.tasks import select_tasks, write_tasks
from distill.generate.brainstorm.writing import list_brainstorm_prompts
from distill.llm.lazy import LazyLLM
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import Stage
from distill.tasks.decontaminate import list_evaluation_sets

__all__ = ["list_brainstorm_prompts", "make_brainstorm"]


def make_brainstorm(run: Run, recipe: Recipe, llm: LazyLLM, held_out: Stage | None = None) -> Stage:
    """Make the stage `examples-brainstorm`, by way of `brainstorm-tasks` (lists of tasks, as
    written), `tasks` (each meaning once) and `brainstorm-generations` (an example of each, as
    written). `llm` is called only if something is left to write.

    Args:
        held_out: the held-out docstrings, where the recipe evaluates on them.

    Raises:
        UserError: if a prompt is missing, two languages are needed and one is named, an
            evaluation task of the recipe cannot be read, or nothing that was written can be used.
    """
    check_languages(recipe.generate.brainstorm)
    sets = list_evaluation_sets(
        recipe.evaluate, recipe.generate.filters, recipe.own_corpus, recipe.seed, held_out
    )
    lists = write_tasks(run, recipe, llm)
    tasks = select_tasks(run, recipe, lists, llm)
    written = write_examples(run, recipe, tasks, llm)
    return select_examples(run, recipe, written, sets)
