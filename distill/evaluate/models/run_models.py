"""The models of a run as its evaluation, its report and its search open them: one way for all."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from distill.embed.wording import PROMPT_NAMES, find_carried_template
from distill.errors import UserError
from distill.evaluate.models.eval_model import EvalModel, load_any_model, load_eval_model
from distill.evaluate.models.known_documents import KnownDocuments
from distill.evaluate.models.prompts import read_student_settings
from distill.evaluate.models.variants import make_asymmetric
from distill.models.sentence_transformer import release_documents
from distill.recipe import ALL_TOKENS, EmbedderConfig, Recipe, Teacher
from distill.store.run import Run
from distill.text.format import QUERY_TEMPLATE, Side


class RunModelSettings(NamedTuple):
    """The settings by which a run's models are opened: whether the student embeds queries alone
    (`student.route`), the teacher, whether tasks' instructions are told (`evaluate.instructions`),
    and the device of the run's own models (`train.device`)."""

    route: Literal["both", "query"]
    teacher: Teacher
    instructions: bool
    device: str | None

    @classmethod
    def select(cls, recipe: Recipe) -> "RunModelSettings":
        """Select them of a recipe."""
        instructions, device = recipe.evaluate.instructions, recipe.train.device
        return cls(recipe.student.route, recipe.teacher, instructions, device)


def load_run_models(
    settings: RunModelSettings, folders: Mapping[str, Path], run: Run | None = None
) -> dict[str, EvalModel]:
    """Load a run's models by role: the models in the run's folders, and the recipe's teacher where
    it names one. A query encoder (`student.route`) is paired with the teacher, which embeds the
    documents.

    Args:
        folders: of `base` and `student`, or of one of them.
        run: whose passages an evaluation does not embed again where their vectors are in its store.

    Raises:
        UserError: if a model does not load, or the student's prompts are not those of its training.
    """
    instructions, teacher = settings.instructions, settings.teacher
    whole = EmbedderConfig(max_tokens=ALL_TOKENS, device=settings.device)
    models = {
        role: load_eval_model(folder, settings=whole, instructions=instructions)
        for role, folder in folders.items()
    }
    if "student" in models:
        models["student"] = check_prompts(models["student"], {})
        if settings.route == "query" and teacher.model is not None:
            release_documents(models["student"].model)
    if teacher.model is not None:
        models["teacher"] = load_any_model(teacher, teacher.model, instructions)
    if run is not None:
        models = {
            role: dataclasses.replace(model, known=KnownDocuments(run, model))
            for role, model in models.items()
        }
    if settings.route == "query":
        documents = models["teacher"]
        others = {role: model for role, model in models.items() if role != "teacher"}
        models |= {role: make_asymmetric(model, documents) for role, model in others.items()}
    return models


def check_prompts(model: EvalModel, given: Mapping[Side, str], force: bool = False) -> EvalModel:
    """Check the model under the prompts that are given, if they are those of its training.

    Those are known from the manifest of the stage that trained it, or else from the model's
    configuration; where neither has any, nothing is refused. A model whose configuration was
    changed since its training is refused too.

    Raises:
        UserError: if a prompt differs from training's, unless forced.
    """
    prompts = dataclasses.replace(model.prompts, given=dict(given))
    if not force:
        _check_instruction_template(model)
        for side, trained in read_trained_prompts(model).items():
            if prompts.get_prompt(side) != trained:
                raise _refuse_prompt(model, f"{side} prompt", prompts.get_prompt(side), trained)
    return dataclasses.replace(model, prompts=prompts)


def read_trained_prompts(model: EvalModel) -> dict[Side, str]:
    """Read the prompts of a model's training by side; empty where they are not known."""
    student = read_student_settings(model.folder)
    if student is not None:
        query = str(student["query_template"]).removesuffix("{query}")
        query = query.replace("{task}", str(student["default_task"]))
        if student.get("route") == "query":
            return {"query": query}
        return {"query": query, "document": str(student["document_prompt"])}
    own = dataclasses.replace(model.prompts, given={})
    known: dict[Side, str] = {side: own.get_prompt(side) for side in PROMPT_NAMES}
    # sentence-transformers gives every model two empty ones.
    return known if any(known.values()) else {}


def _check_instruction_template(model: EvalModel) -> None:
    """Check that a student is instructed as it was in training, or not at all."""
    student = read_student_settings(model.folder)
    wording = model.prompts.wording
    if student is None or not wording.has_task:
        return
    trained = str(student["query_template"])
    if wording.template != find_carried_template({QUERY_TEMPLATE: trained}):
        raise _refuse_prompt(model, "query template", wording.template, trained)


def _refuse_prompt(model: EvalModel, what: str, given: str, trained: str) -> UserError:
    return UserError(
        f"model {model.reference!r}",
        f"would be evaluated with the {what} {given!r}, and was trained with {trained!r}",
        "leave the prompts to the model, whose configuration must be as it was trained, or add "
        "--force-prompts to see what others do",
    )
