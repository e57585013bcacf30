"""Variants of a model that cost no encoding of their own: narrower vectors, coarser ones, and
the student's queries over the teacher's documents."""

import dataclasses
from collections.abc import Sequence

from distill.errors import UserError
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.quantize import Precision, VectorFormat


def make_variants(
    model: EvalModel,
    widths: Sequence[int],
    precisions: Sequence[Precision],
    role: str = "student",
) -> dict[str, EvalModel]:
    """Make the model at each Matryoshka width (Kusupati et al. 2022) in float32, and in each
    precision at its full width, by name: `student@128`, `student int8`. All are computed from the
    same cached vectors, and each has results of its own.

    Raises:
        UserError: for a width that is none of a part of the vector.
    """
    for width in widths:
        if not 0 < width < model.dimensions:
            raise UserError(
                f"evaluate.widths {width}",
                f"{role} has {model.dimensions} dimensions",
                f"name widths from 1 to {model.dimensions - 1}; the full width is always there",
            )
    variants = {
        f"{role}@{width}": dataclasses.replace(model, form=VectorFormat(width=width))
        for width in widths
    }
    return variants | {
        f"{role} {precision}": dataclasses.replace(model, form=VectorFormat(precision=precision))
        for precision in precisions
    }


ASYMMETRIC = "student queries, teacher documents"


def make_asymmetric(student: EvalModel, teacher: EvalModel) -> EvalModel:
    """Make the student for queries, over documents that the teacher embeds: the cheap model
    answers, the large one has indexed. Where a task has no sides, the student alone is asked.

    Raises:
        UserError: if the two do not have equally many dimensions.
    """
    if student.dimensions != teacher.dimensions:
        raise UserError(
            "evaluate.asymmetric",
            f"{student.reference!r} has {student.dimensions} dimensions, and "
            f"{teacher.reference!r} {teacher.dimensions}",
            f"train a student with student.dimensions {teacher.dimensions} and an objective with "
            "`align`, or leave the asymmetric mode out",
        )
    return dataclasses.replace(student, documents=teacher)
