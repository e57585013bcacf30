"""What the sections `retriever` and `teacher` and the models of `evaluate` and `compare` share: an
embedder in this process or behind a server, and how texts are written for it."""

from typing import Literal

from pydantic import Field, model_validator

from distill.recipe.sections.section import Device
from distill.recipe.sections.served import ServedModel
from distill.text.templates import check_template, names_in

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

OWN_WORDS = "{query}"
"""The query template that adds nothing to what the model itself puts before a query."""
ALL_TOKENS = 10_000_000
"""`max_tokens` of a model that is to read as much of a text as it can."""


class EmbedderConfig(ServedModel):
    query_template: str = OWN_WORDS
    """Text that is embedded for a query: {task} stands for the task's instruction, and {query} must
    end it, as in "Instruct: {task}\\nQuery: {query}". A template with words of its own replaces the
    model's query prompt; one without, such as "{task} {query}", is put behind that prompt."""
    device: Device | None = None
    """Device to run the model on: cpu, cuda, cuda:1 or mps; null: the best one available."""
    dtype: Dtype = "auto"
    """Number type of weights and computation. auto: bfloat16 on a GPU that computes it natively,
    float32 elsewhere."""
    bidirectional: bool | None = None
    """Whether every token attends to those after it; true makes a decoder bidirectional. null: what
    the model's configuration declares, or what is known of the model code that it names."""
    append_eos: bool | None = None
    """Whether each text must end in the end-of-sequence token; null: what its tokenizer_config.json
    declares, or what is known of the model."""
    known_as: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """The hub id, `owner/name`, under which a model loaded from a folder or wheel was published;
    its prompts are then taken from mteb. null: not known."""

    @model_validator(mode="after")
    def _words_fit(self) -> "EmbedderConfig":
        template, key = self.query_template, self.key("query_template")
        check_template(template, ("task", "query"), key)
        before = template.removesuffix("{query}")
        if before == template or "query" in names_in(before):
            raise ValueError(
                f"{key} {template!r} must hold {{query}} once, at its end: a model reads what "
                "precedes it as the query's prompt"
            )
        return self
