"""Open the model to export, with its run and recipe if known."""

from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.files.read import parse_path
from distill.models.reference import resolve
from distill.models.sentence_transformer import ADAPTER, open_sentence_model
from distill.recipe import Recipe, load_recipe
from distill.store.stage import check_model_folder


@dataclass(frozen=True)
class ExportSource:
    """A model to export. `run` and `recipe` are None if no run of it is known."""

    reference: str
    folder: Path
    run: Path | None = None
    recipe: Recipe | None = None


def open_source(reference: str) -> ExportSource:
    """Find the model of a path: a run's folder stands for its student; a student's folder inside a
    run belongs to that run.

    Raises:
        UserError: if the run has no student yet, it has changed since, or there is no such model.
    """
    path = parse_path(reference)
    if (path / "recipe.yaml").is_file():
        return _open_run_student(path)
    if path.is_dir() and path.name == "student" and (path.parent / "recipe.yaml").is_file():
        return _open_run_student(path.parent)
    return ExportSource(reference, resolve(reference))


def _open_run_student(run: Path) -> ExportSource:
    student = run / "student"
    # What a run that was stopped leaves in this folder is bookkeeping and no model.
    if not any(
        (student / name).is_file() for name in ("config.json", "router_config.json", ADAPTER)
    ):
        raise UserError(
            str(run), "has no student yet", f"train it: distill train-student --run {run}"
        )
    check_model_folder(student)
    return ExportSource(str(student), student, run, load_recipe(run / "recipe.yaml"))


def load_source(source: ExportSource) -> SentenceTransformer:
    """Load the model in float32 on the CPU, also one that embeds queries alone.

    Raises:
        UserError: if it is no sentence-transformers model, or only an adapter of another.
    """
    if (source.folder / ADAPTER).is_file():
        raise UserError(
            f"model {source.reference!r}",
            "is an adapter, which needs its base beside it",
            "train it again with --set student.lora.save=merged",
        )
    return open_sentence_model(
        source.reference, source.folder, "cpu", model_kwargs={"dtype": torch.float32}
    )
