"""Trains the student in one or several training stages, each from the weights of the last one."""

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from distill.embed.encoder import Vectors
from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.models.reference import identify_revision
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Student, Train
from distill.recipe.needs import TEACHER
from distill.recipe.sections.train import PERFORMANCE_KEYS
from distill.runtime import processes
from distill.runtime.devices import get_torch_dtype
from distill.store.local_name import name_model
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import EXAMPLES, Reader, Row
from distill.student.base_model import get_first_transformer
from distill.student.bidirectional import check_attention
from distill.student.lora import add_lora, finish_lora
from distill.student.pooling import leave_prompts_out
from distill.student.saving import (
    copy_beside,
    has_same_vectors,
    move_into_place,
    save_beside,
)
from distill.student.static.addition import add_static, load_static
from distill.student.static.gate import add_gate, fold_gate
from distill.student.writing import StudentTexts
from distill.teacher.vectors import identify_teacher
from distill.train.checks import check_training, describe_slow_products
from distill.train.data.held_out import HeldOut, hold_out
from distill.train.data.soft_labels import list_score_sources, needs_labels
from distill.train.data.sources import TrainingInputs, find_revisions
from distill.train.fit_projection import make_fitted_base
from distill.train.loop.diagnostics import Diagnostics, draw_sample
from distill.train.loop.trainer import choose_train_device
from distill.train.loop.weight_averaging import interpolate_weights
from distill.train.query_route import (
    load_query_route,
    read_document_vectors,
    save_query_route,
)
from distill.train.settings import TrainingSettings
from distill.train.summary import join_curves, summarize_training
from distill.train.training_stage import TrainingStage

_log = logging.getLogger(__name__)


def train_student(
    run: Run,
    settings: TrainingSettings,
    passages: Stage | None,
    examples: Sequence[Stage],
    base: Stage,
    labels: Stage | None = None,
    teacher_scores: Stage | None = None,
    earlier: Stage | None = None,
    repeated: Stage | None = None,
    static: Stage | None = None,
) -> Stage:
    """Train the base model as `train` says; the stage `student`, a sentence-transformers model.
    `training.json` beside it holds the loss with its terms and the validations, by step.

    Resumes at the newest complete checkpoint, with the weights of an undisturbed run. Under
    `accelerate launch` every process calls this; the first one writes.

    Args:
        passages: None for a recipe without a corpus.
        examples: one or several stages; every row is trained on where the recipe has no mixture.
        labels: the LLM's soft scores, if the objective learns from them (see `needs_labels`).
        teacher_scores: the teacher's soft scores, likewise.
        earlier: the query encoder of the round before, whose weights training begins with.
        repeated: a student that was trained of the same in a round, and is copied.
        static: the trained static query encoder that `student.add_static` adds.

    Raises:
        UserError: if there is no example, there is no corpus to draw texts to align from, the
            widths do not fit the base, the device is not available, the objective's scores do not
            exist, another number of processes began, or the loss rises or becomes NaN.
    """
    train, student = settings.train, settings.student
    inputs = TrainingInputs(run, passages, examples, labels, teacher_scores)
    stage = open_student(settings, inputs, base, earlier, static)
    work = stage.metadata_dir / "training"
    if not stage.complete and repeated is not None and static is None:
        with processes.let_main_go_first():
            _copy_student(stage, repeated)
    if not stage.complete:
        begun = time.perf_counter()
        slow = describe_slow_products(train, student)
        if slow is not None and processes.is_main():
            _log.warning("training: %s", slow)
        with processes.let_main_go_first():
            _check_process_count(work)
        start = base
        if student.projection == "fitted" and earlier is None:
            start = make_fitted_base(student, settings.teacher, inputs, base, train.device)
        model = _open(student, train, settings.seed, start, earlier)
        summaries, figures = _train(settings, inputs, model, stage, base, static)
        if processes.is_main():
            _write(stage, settings, model, summaries)
            stage.finish(seconds=time.perf_counter() - begun, **figures)
        processes.wait()
    if processes.is_main():
        shutil.rmtree(work, ignore_errors=True)
    return stage


def open_student(
    settings: TrainingSettings,
    inputs: TrainingInputs,
    base: Stage,
    earlier: Stage | None,
    static: Stage | None,
) -> Stage:
    """Check what a student is to be trained by, connect the processes, and open its stage.

    Raises:
        UserError: as `train_student`, before anything is trained.
    """
    train = settings.train
    for training_stage in train.list_stages().values():
        check_training(training_stage, settings.student, settings.teacher, inputs, base)
    if train.launcher == "none" or processes.count_processes() > 1:
        processes.connect(choose_train_device(train))  # else this process trains nothing
    with processes.let_main_go_first():
        return inputs.run.open_stage(
            "student",
            fingerprint(settings, inputs, earlier),
            [*_list_inputs(train, inputs, base), *([] if static is None else [static])],
        )


def _copy_student(stage: Stage, repeated: Stage) -> None:
    """Finish the stage with the files and the figures of another stage's student."""
    if stage.complete:  # by the first process
        return
    move_into_place(stage, copy_beside(stage, repeated.folder))
    stage.finish(**repeated.manifest["figures"])


def _train(
    settings: TrainingSettings,
    inputs: TrainingInputs,
    model: SentenceTransformer,
    stage: Stage,
    base: Stage,
    static: Stage | None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run all training stages, interpolate the end with the base, and add the static encoder; the
    stages' summaries, and the figures for the manifest."""
    passages = None if inputs.passages is None else PassageReader(inputs.passages.folder)
    student = settings.student
    held_out = hold_out(settings.train, student, settings.seed, inputs)
    rows = Reader(EXAMPLES, *(part.folder for part in inputs.examples))
    sample = draw_sample(rows, settings.seed)
    documents = {row["positive"] for row in sample}
    if held_out is not None:
        documents.update(held_out.documents.values())
    writer = StudentTexts(student, passages or (), documents)
    vectors = read_document_vectors(student, settings.teacher, inputs)
    searched = None if vectors is None else _choose_searched(vectors, passages, sample, held_out)
    diagnostics = Diagnostics(writer, sample, held_out, searched)
    seed = settings.seed if settings.train.seed is None else settings.train.seed
    summaries: list[dict[str, Any]] = []
    folders: list[Path] = []
    for number, (name, train) in enumerate(settings.train.list_stages().items()):
        folder = stage.metadata_dir / "training" / f"{number}-{name}"
        training_stage = TrainingStage(
            name,
            train,
            seed + number,
            settings,
            inputs,
            passages,
            held_out,
            diagnostics,
            folder,
            list(folders),
            vectors,
        )
        summaries.append(training_stage.run(model))
        folders.append(folder)
    if _interpolate(settings.train, student, model, base, diagnostics):
        summaries[-1]["kept_steps"] = [0]
    if static is not None and student.add_static is not None:
        queries = ["".join(writer.write_query(row)) for row in sample]
        add_static(model, load_static(static.folder), student.add_static.weight, queries)
    return summaries, summarize_training(summaries, diagnostics.compute(model))


def _choose_searched(
    vectors: Vectors,
    passages: PassageReader | None,
    sample: Sequence[Row],
    held_out: HeldOut | None,
) -> dict[str, Vectors]:
    """Choose the vectors of the sample's positives and of what the held-out queries search, by
    id."""
    wanted = {row["positive_id"] for row in sample}
    if held_out is not None:
        wanted.update(held_out.documents)
    numbers = {} if passages is None else passages.find_known_numbers(wanted)
    return {id_: np.array(vectors[number]) for id_, number in numbers.items()}


def _interpolate(
    train: Train,
    student: Student,
    model: SentenceTransformer,
    base: Stage,
    diagnostics: Diagnostics,
) -> bool:
    """Give the model the mean of its weights and the untrained base's that the recipe asks for.
    Returns whether the base's own weights were kept in its place: `keep: best` does so of a query
    encoder where the mean is no better in validation."""
    share = train.interpolation
    if share == 1:
        return False
    _make_ordinary(student, model)
    start = load_sentence_model(base.folder, device="cpu")
    if not student.pool_prompt:
        leave_prompts_out(start)
    interpolate_weights(model, start, share)
    last = list(train.list_stages().values())[-1]
    if not (last.objective.trains_queries_alone and last.keep == "best"):
        return False
    mean, before = (diagnostics.compute(of)["ndcg@10"] for of in (model, start))
    if mean > before:
        return False
    interpolate_weights(model, start, 0.0)
    if processes.is_main():
        _log.warning(
            "training: the mean with the weights before training (train.interpolation %g) has a "
            "validation of %.4f, and they have %.4f: the weights before training are kept",
            share,
            mean,
            before,
        )
    return True


def _make_ordinary(student: Student, model: SentenceTransformer) -> None:
    """Fold what was added for training into the model's own weights, in place."""
    if student.lora is not None:
        finish_lora(model, student.lora)
    if student.architecture == "static":
        fold_gate(model)


def _check_process_count(work: Path) -> None:
    """Refuse another number of processes than began this training: each has its share of a batch,
    and its own random state in a checkpoint."""
    path = work / "processes.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_json(path, processes.count_processes())
    begun_with = read_json(path)
    if begun_with != processes.count_processes():
        raise UserError(
            str(work),
            f"was begun by {begun_with} processes, and there are {processes.count_processes()}",
            f"start {begun_with}, or delete that folder to start over",
        )


def _open(
    student: Student, train: Train, seed: int, base: Stage, earlier: Stage | None
) -> SentenceTransformer:
    frozen = _choose_base_dtype(student, train)
    # Frozen weights that become bfloat16 are never on a GPU in float32.
    model = load_sentence_model(base.folder, train.device if frozen == torch.float32 else "cpu")
    if earlier is not None:
        load_query_route(model, earlier.folder)
    if student.architecture == "transformer":
        check_attention(get_first_transformer(model), student)
    prepare_for_training(model, student, train, seed)
    return model


def prepare_for_training(
    model: SentenceTransformer, student: Student, train: Train, seed: int
) -> None:
    """Add to an untrained student what it has in training alone, in place: the gate of token
    vectors or the matrices of a LoRA, and the mask of its prompts."""
    if student.architecture == "static":
        add_gate(model, student.static.gate_rate)
        return
    if student.lora is not None:
        add_lora(model, student.lora, seed, _choose_base_dtype(student, train))
        model.to(choose_train_device(train))
    if not student.pool_prompt:
        leave_prompts_out(model)


def _choose_base_dtype(student: Student, train: Train) -> torch.dtype:
    """Return the number type of the weights that a LoRA leaves frozen."""
    if student.lora is None or train.base_dtype == "float32":
        return torch.float32
    return get_torch_dtype(train.dtype, choose_train_device(train))


def _write(
    stage: Stage,
    settings: TrainingSettings,
    model: SentenceTransformer,
    summaries: list[dict[str, Any]],
) -> None:
    if settings.train.interpolation == 1:
        _make_ordinary(settings.student, model)
    part = save_beside(stage, model)
    if not has_same_vectors(model.to("cpu"), load_sentence_model(part, device="cpu")):
        raise UserError(
            f"the trained student in {part}",
            "does not give the same vectors after loading as the model that was trained",
            "update sentence-transformers, transformers and peft, and run again: the trained "
            "weights are saved",
        )
    if settings.student.route == "query":
        part = save_query_route(stage, settings, model)
    write_json(part / "training.json", join_curves(summaries))
    move_into_place(stage, part)


def _list_inputs(train: Train, inputs: TrainingInputs, base: Stage) -> list[Stage]:
    """List the stages that the student is made from."""
    stages = [inputs.passages, *inputs.examples, base]
    if TEACHER in list_score_sources(train):
        stages.append(inputs.teacher_scores)
    if needs_labels(train):
        stages.append(inputs.labels)
    return [stage for stage in stages if stage is not None]


def fingerprint(
    settings: TrainingSettings, inputs: TrainingInputs, earlier: Stage | None = None
) -> dict[str, Any]:
    """Collect everything in the recipe that decides which student comes out; keys that only change
    speed or memory are left out. The student of an earlier round counts by its files."""
    train, student, teacher = settings.train, settings.student, settings.teacher
    stages = train.list_stages()
    identity: dict[str, Any] = {
        "student": {**student.list_fingerprinted(), "encoder": name_model(student.encoder)},
        "train": {
            name: stage.list_fingerprinted(exclude=PERFORMANCE_KEYS | {"stages"})
            for name, stage in stages.items()
        },
        "sources": {
            path: mark
            for stage in stages.values()
            for path, mark in find_revisions(inputs, stage).items()
        },
        "seed": settings.seed,
    }
    if _needs_teacher(train) and teacher.model is not None:
        identity["teacher"] = identify_teacher(teacher, teacher.model)
    if settings.has_more_positives:
        identity["queries"] = "each once"  # before, once for each positive
    if settings.learns_cascaded_lists:
        identity["candidates"] = "judged ones"  # before, all of the list
    if earlier is not None:
        identity["earlier"] = identify_revision(str(earlier.folder))
    return identity


def _needs_teacher(train: Train) -> bool:
    return any(
        stage.objective.needs_teacher_vectors or stage.objective.trains_queries_alone
        for stage in train.list_stages().values()
    )
