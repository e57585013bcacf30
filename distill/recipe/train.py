"""The section `train`: how it is trained."""

from typing import Literal

from pydantic import Field

from distill.recipe.objective import Align, InfoNCE, Objective
from distill.recipe.section import Section


class Train(Section):
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(32, gt=1)
    learning_rate: float = Field(2e-4, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    widths: list[int] | None = None
    """Matryoshka widths, the full width included; null: the full width alone."""
    objective: Objective = Objective(infonce=1.0)
    infonce: InfoNCE = InfoNCE()
    align: Align = Align()
    checkpoint_steps: int = Field(100, gt=0)
    seed: int | None = None
    """Of shuffling and dropout; null: the recipe's."""
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the matrix products; weights stay in float32. auto: as for the LLM."""
