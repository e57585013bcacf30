"""Names of tasks and benchmarks -> tasks of mteb, from the hub, from an offline copy, or the
user's own under the same metrics. One file says how a folder holds one category."""

from distill.tasks.load import load_task, load_tasks, open_recipe_task, open_recipe_tasks
from distill.tasks.texts import choose_document_texts, iterate_corpus_texts, iterate_query_texts

__all__ = [
    "choose_document_texts",
    "iterate_corpus_texts",
    "iterate_query_texts",
    "load_task",
    "load_tasks",
    "open_recipe_task",
    "open_recipe_tasks",
]
