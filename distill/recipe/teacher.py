"""The section `teacher`."""

from typing import ClassVar, Literal

from distill.recipe.served import Served


class Teacher(Served):
    section: ClassVar[str | None] = "teacher"

    model: str | None = None
    """The large embedder: aligned with in training, compared with in evaluation; with `base_url`,
    the name under which a server has it."""
    also: list[str] = []
    """Further teachers, for `distill score-teacher`, served as the first one is,"""
    combine: Literal["apart", "concatenate"] = "apart"
    """whose scores are kept apart; or whose vectors are concatenated and normalised (Jasper)."""
    instruction_template: str | None = None
    """Such as "Instruct: {instruction}\\nQuery: {query}": in evaluation, each task's instruction
    before its queries."""
    device: str | None = None
