"""What the brainstorm asks, row by row, without asking it."""

from distill.generate.brainstorm.examples import spread
from distill.generate.brainstorm.tasks import list_requests
from distill.generate.brainstorm.writing import PromptRequest, load_prompts
from distill.llm.prompts import Prompt
from distill.recipe import Recipe
from distill.store.run import Run, open_stage
from distill.store.tables import TASKS


def asked(run: Run, recipe: Recipe) -> list[tuple[PromptRequest, Prompt]]:
    """The lists of tasks, then an example of each task that stands in the run: none before the
    lists are written."""
    groups = recipe.generate.brainstorm.groups
    lists = list_requests(recipe)
    of_tasks = load_prompts(recipe, "tasks", {request.group for request in lists})
    found = [(request, of_tasks[request.group]) for request in lists]
    folder = run.folder / "tasks"
    if not (folder / ".stage").is_dir() or not open_stage(folder).complete:
        return found
    rows = open_stage(folder).rows(TASKS)
    tasks = {g: [row["task"] for row in rows if row["task_type"] == g] for g in groups}
    of_examples = load_prompts(recipe, "example", groups)
    return found + [(request, of_examples[request.group]) for request in spread(tasks, recipe)]
