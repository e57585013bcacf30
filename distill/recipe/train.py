"""The sections `teacher`, `student` and `train`."""

from typing import Literal

from pydantic import Field, model_validator

from distill.recipe.section import Section


class Teacher(Section):
    model: str | None = None
    """The large embedder: aligned with in training, compared with in evaluation."""
    also: list[str] = []
    """Further teachers, for `distill score-teacher`,"""
    combine: Literal["apart", "concatenate"] = "apart"
    """whose scores are kept apart; or whose vectors are concatenated and normalised (Jasper)."""
    max_tokens: int = Field(256, gt=0)
    device: str | None = None
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once, padding included; null: 1,024 on a CPU, 65,536 on a GPU."""


class Student(Section):
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    layers: list[int] | None = None
    """Which of the encoder's layers are kept, counted from 0; null: all."""
    dimensions: int | None = Field(None, gt=0)
    """Output width, through a linear layer on the pooled vector; null: the encoder's own."""
    max_tokens: int = Field(256, gt=0)
    query_template: str = "{query}"
    """A training query as text; must end in {query}. With `default_task` in the place of {task}
    what stands before {query} is saved in the model as its query prompt."""
    default_task: str = "Given a query, find the passages that answer it."
    document_prompt: str = ""
    """Before each document; saved in the model as its document prompt."""

    @model_validator(mode="after")
    def _query_last(self) -> "Student":
        if not self.query_template.endswith("{query}"):
            raise ValueError("query_template must end in {query}: a prompt is what precedes it")
        return self


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
