"""The section `teacher`."""

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from distill.recipe.embedder import Embedder
from distill.recipe.section import Word


class Teacher(Embedder):
    section: ClassVar[str | None] = "teacher"

    model: Word | None = None
    """The large embedder: aligned with in training, compared with in evaluation; with `base_url`,
    the name under which a server has it. One whose `query_template` holds {task} is told the task
    of each query, in training and in evaluation."""
    also: list[Word] = []
    """Further teachers, for `distill score-teacher`, served as the first one is,"""
    combine: Literal["apart", "concatenate"] = "apart"
    """whose scores are kept apart; or whose vectors are concatenated and normalised (Jasper)."""

    @model_validator(mode="before")
    @classmethod
    def _read_instruction_template(cls, values: Any) -> Any:
        """`instruction_template` with {instruction}, as recipes had it, is `query_template` with
        {task}; what is null said nothing."""
        if not isinstance(values, dict) or "instruction_template" not in values:
            return values
        values = dict(values)
        template = values.pop("instruction_template")
        if template is None:
            return values
        if "query_template" in values or not isinstance(template, str):
            raise ValueError("instruction_template is query_template now: give that one alone")
        return values | {"query_template": template.replace("{instruction}", "{task}")}
