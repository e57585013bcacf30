"""The section `teacher`."""

from typing import ClassVar, Literal

from pydantic import model_validator

from distill.recipe.section import Device, Word
from distill.recipe.served import Served
from distill.templates import check_plain_template


class Teacher(Served):
    section: ClassVar[str | None] = "teacher"

    model: str | None = None
    """The large embedder: aligned with in training, compared with in evaluation; with `base_url`,
    the name under which a server has it."""
    also: list[Word] = []
    """Further teachers, for `distill score-teacher`, served as the first one is,"""
    combine: Literal["apart", "concatenate"] = "apart"
    """whose scores are kept apart; or whose vectors are concatenated and normalised (Jasper)."""
    instruction_template: str | None = None
    """Such as "Instruct: {instruction}\\nQuery: {query}": in evaluation, each task's instruction
    before its queries."""
    device: Device | None = None

    @model_validator(mode="after")
    def _template_fits(self) -> "Teacher":
        if self.instruction_template is not None:
            check_plain_template(
                self.instruction_template, ("instruction", "query"), "instruction_template"
            )
        return self
