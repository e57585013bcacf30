"""The training of the student: one or several training stages, each on from the last."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Recipe, Train
from distill.recipe.sections.train import PERFORMANCE_KEYS
from distill.runtime import processes
from distill.runtime.devices import torch_dtype
from distill.store.local_name import name_model
from distill.store.run import Run, Stage, read_json, write_json
from distill.store.tables import EXAMPLES, PASSAGES
from distill.student.base_model import first_transformer
from distill.student.bidirectional import check_attention
from distill.student.lora import add_lora, finish_lora
from distill.student.pooling import leave_prompts_out
from distill.student.saving import gives_same_vectors, move_into_place, save_beside
from distill.student.writing import StudentTexts
from distill.teacher.vectors import teacher_identity
from distill.train.checks import check_training
from distill.train.data.held_out import hold_out
from distill.train.data.soft_labels import JUDGED, score_sources
from distill.train.data.sources import TrainingInputs, find_revisions
from distill.train.loop.diagnostics import Diagnostics, draw_sample
from distill.train.loop.trainer import choose_train_device
from distill.train.training_stage import TrainingStage


def train_student(
    run: Run,
    recipe: Recipe,
    passages: Stage | None,
    examples: Sequence[Stage],
    base: Stage,
    labels: Stage | None = None,
    teacher_scores: Stage | None = None,
) -> Stage:
    """The stage `student`: the base, trained as `train` says, a sentence-transformers model;
    `training.json` beside it holds the loss and its terms by step, and what was seen on the way.

    Resumes at the newest complete checkpoint, with the weights of an undisturbed run. Under
    `accelerate launch` every process calls this; the first one writes.

    Args:
        passages: None for a recipe without a corpus.
        examples: one or several, of which every row is trained on where no mixture is named.
        labels: what soft scores of the LLM are read from; see `score_sources`.
        teacher_scores: and those of a teacher.

    Raises:
        UserError: if there is no example, there is no corpus to draw texts to align from, the
            widths do not fit the base, the device is not to be had, scores are wanted that are not
            there, another number of processes began, or the loss rises or stops being a number.
    """
    inputs = TrainingInputs(run, passages, examples, labels, teacher_scores)
    for train in recipe.train.in_stages().values():
        check_training(recipe, train, inputs, base)
    processes.connect(choose_train_device(recipe.train))
    with processes.main_first():
        stage = run.stage("student", _settings(recipe, inputs), _read(recipe, inputs, base))
    work = stage.book / "training"
    if not stage.complete:
        begun = time.perf_counter()
        with processes.main_first():
            _as_many_processes(work)
        model = _open(recipe, base)
        told, figures = _train(recipe, inputs, model, stage)
        if processes.is_main():
            _write(stage, recipe, model, told)
            stage.finish(seconds=time.perf_counter() - begun, **figures)
        processes.wait()
    if processes.is_main():
        shutil.rmtree(work, ignore_errors=True)
    return stage


def _train(
    recipe: Recipe, inputs: TrainingInputs, model: SentenceTransformer, stage: Stage
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All training stages. Returns what each has to tell, and the manifest's figures."""
    passages = [] if inputs.passages is None else inputs.passages.rows(PASSAGES)
    held_out = hold_out(recipe, inputs)
    rows = [row for part in inputs.examples for row in part.rows(EXAMPLES)]
    writer = StudentTexts(recipe.student, passages)
    sight = Diagnostics(writer, draw_sample(rows, recipe.seed), held_out)
    seed = recipe.seed if recipe.train.seed is None else recipe.train.seed
    told: list[dict[str, Any]] = []
    folders: list[Path] = []
    for number, (name, train) in enumerate(recipe.train.in_stages().items()):
        folder = stage.book / "training" / f"{number}-{name}"
        phase = TrainingStage(
            name,
            train,
            seed + number,
            recipe,
            inputs,
            passages,
            held_out,
            sight,
            folder,
            list(folders),
        )
        told.append(phase.run(model))
        folders.append(folder)
    return told, _figures(told, sight.look(model))


def _as_many_processes(work: Path) -> None:
    """Each process has its part of a batch, and its own state of chance in a checkpoint: a training
    ends with as many as began it."""
    path = work / "processes.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_json(path, processes.count())
    begun = read_json(path)
    if begun != processes.count():
        raise UserError(
            str(work),
            f"was begun by {begun} processes, and there are {processes.count()}",
            f"start {begun}, or delete that folder to begin anew",
        )


def _open(recipe: Recipe, base: Stage) -> SentenceTransformer:
    frozen = _dtype_of_base(recipe)
    # Frozen weights that are to be halved are never whole on a GPU.
    model = load_sentence_model(
        base.folder, recipe.train.device if frozen == torch.float32 else "cpu"
    )
    check_attention(first_transformer(model), recipe.student)
    if recipe.student.lora is not None:
        add_lora(model, recipe.student.lora, recipe.seed, frozen)
        model.to(choose_train_device(recipe.train))
    if not recipe.student.pool_prompt:
        leave_prompts_out(model)
    return model


def _dtype_of_base(recipe: Recipe) -> torch.dtype:
    """Of the weights that stay as they are under a LoRA."""
    train = recipe.train
    if recipe.student.lora is None or train.base_dtype == "float32":
        return torch.float32
    return torch_dtype(train.dtype, choose_train_device(train))


def _write(
    stage: Stage, recipe: Recipe, model: SentenceTransformer, told: list[dict[str, Any]]
) -> None:
    if recipe.student.lora is not None:
        finish_lora(model, recipe.student.lora)
    part = save_beside(stage, model)
    if not gives_same_vectors(model.to("cpu"), load_sentence_model(part, device="cpu")):
        raise UserError(
            f"the trained student in {part}",
            "loads as another model than was trained",
            "update sentence-transformers, transformers and peft, and run again: what was trained "
            "is kept",
        )
    write_json(part / "training.json", _curves(told))
    move_into_place(stage, part)


def _curves(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Lines by step, counted on from one training stage to the next."""
    curve, looks, stages, before = [], [], [], 0
    for stage in told:
        curve += [line | {"step": line["step"] + before} for line in stage["curve"]]
        # The look before a later stage's first step is at what was seen last.
        looks += [
            line | {"step": line["step"] + before}
            for line in stage["looks"]
            if line["step"] or not before
        ]
        steps = stage["curve"][-1]["step"]
        before += steps
        stages.append(
            {key: value for key, value in stage.items() if key not in ("curve", "looks")}
            | {"steps": steps, "last_step": before}
        )
    return {"curve": curve, "looks": looks, "stages": stages}


def _figures(told: list[dict[str, Any]], seen: dict[str, float]) -> dict[str, Any]:
    """Of the whole training; `seen` is of the finished student."""
    first, last = told[0]["curve"], told[-1]["curve"]
    near = [stage for stage in told if stage["cosine_to_teacher_before"] is not None]
    before = told[0]["looks"][0]
    return {
        "examples": sum(stage["examples"] for stage in told),
        "texts": sum(stage["texts"] for stage in told),
        "steps": sum(stage["curve"][-1]["step"] for stage in told),
        "loss_first": first[0]["loss"],
        "loss_last": last[-1]["loss"],
        "cosine_to_teacher_before": near[0]["cosine_to_teacher_before"] if near else None,
        "cosine_to_teacher_after": near[-1]["cosine_to_teacher_after"] if near else None,
        "before": {name: before[name] for name in seen},
        "after": seen,
    }


def _read(recipe: Recipe, inputs: TrainingInputs, base: Stage) -> list[Stage]:
    """The stages that the student comes from."""
    wanted = score_sources(recipe.train)
    found = [inputs.passages, *inputs.examples, base]
    if "teacher" in wanted:
        found.append(inputs.teacher_scores)
    if wanted & set(JUDGED):
        found.append(inputs.labels)
    return [stage for stage in found if stage is not None]


def _settings(recipe: Recipe, inputs: TrainingInputs) -> dict[str, Any]:
    stages = recipe.train.in_stages()
    settings: dict[str, Any] = {
        "student": {
            **recipe.student.fingerprinted(),
            "encoder": name_model(recipe.student.encoder),
        },
        "train": {
            name: train.fingerprinted(exclude=PERFORMANCE_KEYS | {"stages"})
            for name, train in stages.items()
        },
        "sources": {
            path: mark
            for train in stages.values()
            for path, mark in find_revisions(inputs, train).items()
        },
        "seed": recipe.seed,
    }
    if _needs_teacher(recipe.train) and recipe.teacher.model is not None:
        settings["teacher"] = teacher_identity(recipe.teacher, recipe.teacher.model)
    return settings


def _needs_teacher(train: Train) -> bool:
    return any(stage.objective.needs_teacher_vectors for stage in train.in_stages().values())
