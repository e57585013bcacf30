"""The run and its stages: one function for each command from the corpus to the student."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.api.before import check_first, choose_overwrite
from distill.api.devices import Step, check_devices
from distill.api.objects import Models, put_models
from distill.api.run_folder import RunFolder, open_run
from distill.api.session import (
    RecipeOrFile,
    keep_recipe,
    open_job,
    open_job_to_look,
    settle,
    show_whole_run,
)
from distill.errors import UserError
from distill.store.run import Overwrite
from distill.store.stage import Stage

if TYPE_CHECKING:
    from rich.console import Console

    from distill.embed.encoder import Encoder
    from distill.estimate.amounts import Estimate
    from distill.llm.protocol import IdentifiedLLM
    from distill.pipeline.ablation import Arm
    from distill.pipeline.job import Job


def run(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    overwrite: Overwrite = "never",
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
    teacher: "Encoder | None" = None,
) -> RunFolder:
    """Do everything that a recipe says: from the corpus to the evaluated student and the report.
    A run that was stopped continues. Where a recipe names no evaluation task, one is made of
    documents that are held out (see `corpus.held_out`). Where these are too few, or none are to be
    held out, the run ends with the student, and has no `summary`.

    >>> done = run("mine.yaml", folder="runs/mine")
    >>> done.student
    PosixPath('runs/mine/student')
    >>> sorted(done.summary["models"])
    ['base', 'base + bm25', 'bm25', 'student', 'student + bm25', 'teacher', 'teacher + bm25']

    Args:
        folder: the run's folder; by default `artifacts/NAME`.
        overwrite: what to do with a stage that other settings have written: refuse (`never`), redo
            it and what depends on it (`stale`), or redo all (`always`). Passages alone, of which
            nothing is made yet, are read anew without asking.
        llm: an object that replaces `llm.model`.
        retriever: an object that replaces `retriever.model`.
        teacher: an object that replaces `teacher.model`.

    Raises:
        UserError: for a recipe, a file or a model that cannot be used.
        EngineFailure: if the LLM's engine ended.
    """
    from distill.report.html import write_html
    from distill.report.markdown.report import write_report
    from distill.runtime.progress import show_activity

    recipe, place = settle(recipe, folder)
    recipe = put_models(recipe, Models(llm, retriever, teacher))
    check_first(recipe, place)
    with open_job(recipe, place, choose_overwrite(recipe, place, overwrite)) as job:
        with show_whole_run(job):
            if recipe.evaluate.names_tasks:
                job.evaluate()
            else:
                job.train_student()
        # The report reads the run's own recipe, which is this one from here on.
        keep_recipe(job)
        with show_activity("writing the report"):
            write_report(place, in_run=True)
            write_html(place, in_run=True)
    return open_run(place)


def read_corpus(
    recipe: RecipeOrFile, folder: str | Path | None = None, overwrite: Overwrite = "never"
) -> RunFolder:
    """Read the recipe's corpus into passages: the command `distill corpus`.

    >>> read_corpus("mine.yaml", "runs/mine").table("passages").column_names
    ['passage_id', 'title', 'text', 'source']

    Raises:
        UserError: if the recipe names no corpus, or it cannot be read.
    """

    def read(job: "Job") -> "list[Stage | None]":
        passages = job.make_corpus().passages
        if passages is None:
            raise UserError(f"recipe {job.recipe.name}", "names no corpus", "set corpus.path")
        return [passages]

    return _write_stages(recipe, folder, overwrite, "corpus", Models(), read)


def generate(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    overwrite: Overwrite = "never",
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
) -> RunFolder:
    """Have an LLM write queries for passages, or whole examples; the corpus is read first.

    >>> queries = generate("mine.yaml", "runs/mine").table("queries")
    >>> {"query_id", "query", "task"} <= set(queries.column_names)
    True

    Raises:
        UserError: for a recipe, a file or a model that cannot be used.
        EngineFailure: if the LLM's engine ended.
    """

    def write(job: "Job") -> "list[Stage | None]":
        results = job.generate()
        return [results.queries, *results.examples]

    return _write_stages(recipe, folder, overwrite, "generate", Models(llm, retriever), write)


def relabel(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    overwrite: Overwrite = "never",
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
    teacher: "Encoder | None" = None,
) -> RunFolder:
    """Retrieve candidates for each query, have them judged, and choose positives and negatives.
    The stages before it are done first.

    >>> examples = relabel("mine.yaml", "runs/mine").table("examples")
    >>> {"query", "positive_id", "negatives"} <= set(examples.column_names)
    True

    Raises:
        UserError: for a recipe, a file or a model that cannot be used.
        EngineFailure: if the LLM's engine ended.
    """
    models = Models(llm, retriever, teacher)
    return _write_stages(
        recipe, folder, overwrite, "relabel", models, lambda job: job.relabel().stages
    )


def train_judge(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    overwrite: Overwrite = "never",
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
) -> RunFolder:
    """Train a small cross-encoder on what the recipe's rankers say of the candidates, and compare
    it as a reranker with the retriever's order on the recipe's tasks. The stages before it are done
    first; a training that was killed continues at its last checkpoint.

    >>> run = train_judge("mine.yaml", folder="runs/mine")  # doctest: +SKIP
    >>> CrossEncoder(str(run.folder / "judge")).rank("a query", texts)  # doctest: +SKIP

    Raises:
        UserError: for a recipe, a file or a model that cannot be used.
        EngineFailure: if the LLM's engine ended.
    """
    models = Models(llm, retriever)
    return _write_stages(
        recipe, folder, overwrite, "train_judge", models, lambda job: job.train_judge()
    )


def score_teacher(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    overwrite: Overwrite = "never",
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
    teacher: "Encoder | None" = None,
) -> RunFolder:
    """Have the teacher score each example's positive and negatives against its query. The stages
    before it are done first.

    >>> score_teacher("mine.yaml", "runs/mine").table("teacher-scores")[0]  # doctest: +SKIP

    Raises:
        UserError: for a recipe, a file or a model that cannot be used.
        EngineFailure: if the LLM's engine ended.
    """
    models = Models(llm, retriever, teacher)
    return _write_stages(
        recipe, folder, overwrite, "score_teacher", models, lambda job: [job.score_teacher()]
    )


def train_student(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    overwrite: Overwrite = "never",
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
    teacher: "Encoder | None" = None,
) -> RunFolder:
    """Train the student. The stages before it are done first; a training that was killed continues
    at its last checkpoint.

    >>> from sentence_transformers import SentenceTransformer
    >>> student = SentenceTransformer(str(train_student("mine.yaml", "runs/mine").student))
    >>> student.encode_query(["how do swifts sleep"]).shape[0]
    1

    Raises:
        UserError: for a recipe, a file or a model that cannot be used.
        EngineFailure: if the LLM's engine ended.
    """
    models = Models(llm, retriever, teacher)
    return _write_stages(
        recipe, folder, overwrite, "train_student", models, lambda job: job.train_student()[1:]
    )


def ablate(recipe: RecipeOrFile, folder: str | Path | None = None) -> "list[Arm]":
    """Train and evaluate the variants that the recipe's section `ablation` names, and write their
    table to `ablation.md` in the run's folder. Behind the arms are their untrained bases and, on
    retrieval tasks, BM25 and the hybrid of each with it.

    >>> [(arm.name, arm.by_seed) for arm in ablate("table3.yaml")]  # doctest: +SKIP

    Raises:
        UserError: if the recipe names no arms or no task, or an arm is not a valid recipe.
    """
    from distill.pipeline.ablation import ablate as compare_arms
    from distill.pipeline.ablation import write_ablation

    # Every arm has its own student, whose answers an LLM would have to judge again.
    recipe, place = settle(recipe, folder, judges=False)
    check_devices(recipe)
    arms = compare_arms(place, recipe)
    write_ablation(place, arms)
    return arms


def estimate(
    recipe: RecipeOrFile,
    folder: str | Path | None = None,
    sample: int = 8,
    prices: str | Path | None = None,
    *,
    llm: "IdentifiedLLM | None" = None,
    retriever: "Encoder | None" = None,
    teacher: "Encoder | None" = None,
) -> "Estimate":
    """Estimate the tokens, time and money that a recipe takes, stage by stage. The corpus is read
    into the run's folder.

    >>> estimated = estimate("mine.yaml", "runs/mine", sample=0)
    >>> estimated.total.seconds is None  # with a sample it is measured
    True

    Args:
        sample: the number of prompts to run to measure tokens and speed; 0 loads no model.
        prices: a YAML file with the price of a million tokens of each model.

    Raises:
        UserError: if a file that the recipe names cannot be read, or the LLM cannot be used.
    """
    from distill.estimate.estimate import estimate as estimate_stages
    from distill.estimate.prices import Prices

    listed = None if prices is None else Prices(Path(prices))
    recipe, place = settle(recipe, folder)
    recipe = put_models(recipe, Models(llm, retriever, teacher))
    check_first(recipe, place, models=sample > 0)
    with open_job_to_look(recipe, place) as job:
        return estimate_stages(job.run, recipe, job.llm, sample, listed, job.open_judging_llm)


def show_prompt(
    recipe: RecipeOrFile,
    row: int,
    folder: str | Path | None = None,
    console: "Console | None" = None,
) -> None:
    """Print one row's prompt as the LLM gets it, and what the LLM wrote if it has; run no model.

    >>> show_prompt("mine.yaml", row=0)  # doctest: +ELLIPSIS
    row: 0
    passage_id: ...

    Args:
        row: the number of the prompt, from 0.

    Raises:
        UserError: if there is no such row.
    """
    from rich.console import Console

    from distill.generate.settings import WritingSettings
    from distill.generate.show_prompt import show_prompt as print_prompt

    recipe, place = settle(recipe, folder)
    with open_job_to_look(recipe, place) as job:
        writing, passages = WritingSettings.select(recipe), job.make_corpus().passages
        print_prompt(job.run, writing, passages, row, console or Console())


def _write_stages(
    recipe: RecipeOrFile,
    folder: str | Path | None,
    overwrite: Overwrite,
    last: Step,
    models: Models,
    write: Callable[["Job"], Sequence[Stage | None]],
) -> RunFolder:
    """Open a job on the run, have `write` do its stages up to `last`, and return the run with those
    that it gives."""
    recipe, place = settle(recipe, folder)
    with open_job(put_models(recipe, models), place, overwrite, last) as job:
        stages = write(job)
    return RunFolder(place, [stage for stage in stages if stage is not None])
