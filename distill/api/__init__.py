"""distill as a library: one function for each command.

>>> import distill
>>> recipe = distill.load_recipe(settings={"name": "mine", "train.epochs": 2})
>>> recipe.train.epochs
2.0

A recipe is run, and its results are read, by::

    run = distill.run(recipe, folder="runs/mine", overwrite="stale")
    run.student, run.summary, run.table("examples")
    distill.search(run, "transpose a matrix", k=5)
"""

from distill.api.before import check, init
from distill.api.evaluation import compare, evaluate
from distill.api.judging import judge
from distill.api.results import (
    FORMATS,
    doctor,
    export,
    export_index,
    export_judge,
    inspect,
    report,
    search,
    search_each,
)
from distill.api.run_folder import RunFolder, open_run
from distill.api.session import load_recipe
from distill.api.stages import (
    ablate,
    estimate,
    generate,
    read_corpus,
    relabel,
    run,
    score_teacher,
    show_prompt,
    train_judge,
    train_student,
)
from distill.recipe.packaged import copy_recipe, list_recipes
from distill.recipe.reference import explain_key

__all__ = [
    "FORMATS",
    "RunFolder",
    "ablate",
    "check",
    "compare",
    "copy_recipe",
    "doctor",
    "estimate",
    "evaluate",
    "explain_key",
    "export",
    "export_index",
    "export_judge",
    "generate",
    "init",
    "inspect",
    "judge",
    "list_recipes",
    "load_recipe",
    "open_run",
    "read_corpus",
    "relabel",
    "report",
    "run",
    "score_teacher",
    "search",
    "search_each",
    "show_prompt",
    "train_judge",
    "train_student",
]
