"""Checks before training: a recipe that cannot be trained as it stands is refused."""

import torch

from distill.errors import UserError, need
from distill.recipe import Student, Teacher, Train
from distill.runtime import processes
from distill.runtime.devices import choose_device, get_torch_dtype
from distill.store.stage import Stage
from distill.train.data.soft_labels import check_scores
from distill.train.data.sources import TrainingInputs, check_titles
from distill.train.loop.model_overrides import check_kernel

_UNRELATED = 0.1
"""Mean cosine of student and teacher below which their spaces are unrelated."""


def check_training(
    train: Train, student: Student, teacher: Teacher, inputs: TrainingInputs, base: Stage
) -> None:
    """Check one training stage's settings against its data, the base model and this machine.

    Raises:
        UserError: naming the key to change.
    """
    _check_examples(inputs)
    _check_widths(train, int(base.manifest["figures"]["dimensions"]))
    _check_device(train)
    _check_processes(train)
    _check_static(student)
    _check_embedding_rate(train)
    check_kernel(train.kernel)
    for tracker in train.trackers:
        need(tracker, "track")
    check_titles(train, inputs.passages)
    check_scores(train, inputs.labels, inputs.teacher_scores)
    if train.objective.needs_teacher_vectors or train.objective.trains_queries_alone:
        _check_teacher(teacher, train, inputs)


def describe_unrelated_spaces(cosine: float | None, has_projection: bool) -> str | None:
    """Describe that the student would have to learn a whole new space; None where it would not.

    Args:
        cosine: the mean cosine of student and teacher before training; None: vectors of a teacher
            are not learnt.
        has_projection: whether a linear layer is learnt between the two.
    """
    if cosine is None or cosine >= _UNRELATED or has_projection:
        return None
    return (
        f"the student's vectors have nothing in common with the teacher's (mean cosine "
        f"{cosine:.2f}), and no linear layer is between them: objective.align has to move the "
        "whole space, and may make the student worse on a small corpus; infonce or kl keeps it"
    )


def describe_slow_products(train: Train, student: Student) -> str | None:
    """Describe that a transformer is trained in float32 where bfloat16 is native; None where it is
    not. Products of 16 bits are what such a GPU is made for."""
    device = train.device or choose_device()
    if train.dtype != "float32" or student.architecture == "static":
        return None
    if not device.startswith("cuda") or get_torch_dtype("auto", device) != torch.bfloat16:
        return None
    return (
        "train.dtype is float32 on a GPU that computes bfloat16 natively: train.dtype: auto takes "
        "a fraction of the time, and keeps the weights in float32. It makes another student, so "
        "set it before this one is trained"
    )


def _check_examples(inputs: TrainingInputs) -> None:
    if not any(stage.manifest["rows"] for stage in inputs.examples):
        raise UserError(
            ", ".join(str(stage.folder) for stage in inputs.examples) or "examples",
            "there is no example to train on",
            "generate more queries, or filter fewer of them",
        )


def _check_widths(train: Train, width: int) -> None:
    widths = train.widths if train.widths is not None else [width]
    if max(widths, default=0) != width or min(widths) < 1:
        raise UserError(
            f"train.widths {widths}",
            f"the student has {width} dimensions",
            f"name widths from 1 to {width}, {width} among them",
        )


def _check_device(train: Train) -> None:
    if train.device not in (None, "cpu", "cuda", "mps"):
        raise UserError(
            f"train.device {train.device!r}",
            "must be cpu, cuda or mps",
            "choose one of several GPUs with CUDA_VISIBLE_DEVICES",
        )
    if train.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device 'cuda'", "torch sees no CUDA device", "train.device: cpu")


def _check_processes(train: Train) -> None:
    for key, size in (("", train.batch_size), ("align.", train.align.batch_size)):
        if size < processes.count_processes():
            raise UserError(
                f"train.{key}batch_size {size}",
                f"is the sum over all processes, and there are {processes.count_processes()}",
                "raise it, or start fewer processes",
            )


def _check_static(student: Student) -> None:
    if student.architecture == "static" and processes.is_sharded():
        raise UserError(
            "student.architecture static",
            "has one matrix, which FSDP has no layers of to spread",
            "start one process, which suffices: there is no transformer to train",
        )


def _check_embedding_rate(train: Train) -> None:
    if train.embedding_learning_rate is not None and processes.is_sharded():
        raise UserError(
            f"train.embedding_learning_rate {train.embedding_learning_rate}",
            "FSDP spreads the token vectors together with other weights",
            "leave it out, or start processes without FSDP",
        )


def _check_teacher(teacher: Teacher, train: Train, inputs: TrainingInputs) -> None:
    if teacher.model is None:
        raise UserError(
            f"train.objective {train.objective.model_dump(exclude_defaults=True)}",
            "compares with a teacher's vectors, and the recipe names no teacher",
            "set teacher.model",
        )
    for key in ("passages", "sentences"):
        if inputs.passages is None and (count := getattr(train.align, key)):
            raise UserError(
                f"train.align.{key} {count}",
                "the recipe has no corpus to draw them from",
                f"set train.align.{key} to 0, or name a corpus",
            )
