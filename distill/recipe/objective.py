"""What is trained on: `train.objective`, and a section for each of its terms."""

from pydantic import Field, model_validator

from distill.recipe.section import Section


class Objective(Section):
    """The weights of the sum that is trained on; a term that is not named, or 0, is left out."""

    infonce: float = Field(0.0, ge=0)
    align: float = Field(0.0, ge=0)
    kl: float = Field(0.0, ge=0)
    margin_mse: float = Field(0.0, ge=0)
    similarity_matrix: float = Field(0.0, ge=0)
    relative_order: float = Field(0.0, ge=0)
    cosent: float = Field(0.0, ge=0)
    gor: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _something(self) -> "Objective":
        if not any(self.model_dump().values()):
            raise ValueError("every weight is 0: name a term, such as {infonce: 1.0}")
        return self


class InfoNCE(Section):
    """Gecko, equation 3."""

    temperature: float = Field(0.05, gt=0)
    same_tower: bool = True
    """Other queries of the batch as negatives."""


class Align(Section):
    """Nearness to the teacher's vectors (LEAF, jina-v5)."""

    passages: int = Field(0, ge=0)
    """Plain texts besides the examples: so many corpus passages, drawn by seed,"""
    sentences: int = Field(0, ge=0)
    """and so many sentences drawn from them."""
    batch_size: int = Field(64, gt=0)
