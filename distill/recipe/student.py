"""The section `student`: what is trained."""

from typing import Literal

from pydantic import Field, model_validator

from distill.recipe.section import Section


class Latent(Section):
    """Latent attention (NV-Embed, sec. 3.1)."""

    latents: int = Field(512, gt=0)
    heads: int = Field(8, gt=0)
    """Each as wide as the model, as in the released one."""


class Lora(Section):
    """Low-rank adaptation: the transformer stays as it is, and small matrices beside it learn."""

    rank: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: list[str] | None = None
    """The names of the linear layers adapted; null: all of them."""
    save: Literal["merged", "adapter"] = "merged"
    """adapter: the small matrices alone, which need the run's `base` beside them to load."""


class Student(Section):
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    """What it is made from: a BERT-like encoder or a decoder, also as GGUF."""
    layers: list[int] | None = None
    """Which of the encoder's layers are kept, counted from 0; null: all."""
    vocabulary: Literal["all", "corpus"] = "all"
    """corpus: only the tokens of the corpus' passages, and every single character or byte."""
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    """Of a decoder. An encoder is bidirectional."""
    pooling: Literal["mean", "last", "cls", "latent"] = "mean"
    """last: an end-of-sequence token is appended to each text."""
    pool_prompt: bool = True
    """Whether the vector is made of the prompt's tokens too (mean, latent)."""
    latent: Latent = Latent()
    dimensions: int | None = Field(None, gt=0)
    """Output width, through a linear layer on the pooled vector; null: the encoder's own."""
    lora: Lora | None = None
    max_tokens: int = Field(256, gt=0)
    query_template: str = "{query}"
    """A training query as text; must end in {query}. With `default_task` in the place of {task}
    what stands before {query} is saved in the model as its query prompt."""
    default_task: str = "Given a query, find the passages that answer it."
    document_prompt: str = ""
    """Before each document; saved in the model as its document prompt."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Student":
        if not self.query_template.endswith("{query}"):
            raise ValueError("query_template must end in {query}: a prompt is what precedes it")
        if not self.pool_prompt and self.pooling in ("last", "cls"):
            raise ValueError(f"pool_prompt: pooling {self.pooling} is of one token, not of prompts")
        if self.attention == "causal" and self.pooling == "cls":
            raise ValueError("pooling cls: under causal attention the first token sees no other")
        return self
