"""Examples without a corpus: tasks first, then an example of each (E5-Mistral, section 3.1)."""

from collections.abc import Sequence

from distill.generate.brainstorm.examples import select_examples
from distill.generate.brainstorm.generations import write_examples
from distill.generate.brainstorm.placeholders import check_languages
from distill.generate.brainstorm.task_lists import write_tasks
from distill.generate.brainstorm.tasks import select_tasks
from distill.generate.brainstorm.writing import list_brainstorm_prompts
from distill.generate.settings import WritingSettings
from distill.llm.lazy import LazyLLM
from distill.recipe import Retriever
from distill.store.run import Run
from distill.store.stage import Stage
from distill.tasks.decontaminate import EvaluationSet

__all__ = ["list_brainstorm_prompts", "make_brainstorm"]


def make_brainstorm(
    run: Run,
    writing: WritingSettings,
    retriever: Retriever,
    llm: LazyLLM,
    sets: Sequence[EvaluationSet],
) -> Stage:
    """Make the stage `examples-brainstorm`, by way of `brainstorm-tasks` (lists of tasks, as
    written), `tasks` (each meaning once) and `brainstorm-generations` (an example of each, as
    written). `llm` is called only if something is left to write.

    Args:
        retriever: embeds the tasks, to tell which have one meaning.
        sets: what the recipe evaluates on.

    Raises:
        UserError: if a prompt is missing, two languages are needed and one is named, or
            nothing that was written can be used.
    """
    generate = writing.generate
    check_languages(generate.brainstorm)
    lists = write_tasks(run, writing, llm)
    tasks = select_tasks(run, generate.brainstorm, retriever, lists, llm)
    written = write_examples(run, writing, tasks, llm)
    return select_examples(run, generate, writing.folder, written, sets)
