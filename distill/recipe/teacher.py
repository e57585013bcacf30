"""The section `teacher`."""

from typing import Literal

from pydantic import Field

from distill.recipe.section import Section


class Teacher(Section):
    model: str | None = None
    """The large embedder: aligned with in training, compared with in evaluation."""
    also: list[str] = []
    """Further teachers, for `distill score-teacher`,"""
    combine: Literal["apart", "concatenate"] = "apart"
    """whose scores are kept apart; or whose vectors are concatenated and normalised (Jasper)."""
    instruction_template: str | None = None
    """Such as "Instruct: {instruction}\\nQuery: {query}": in evaluation, each task's instruction
    before its queries."""
    max_tokens: int = Field(256, gt=0)
    device: str | None = None
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once, padding included; null: 1,024 on a CPU, 65,536 on a GPU."""
