"""An embedder that a server may have: what the sections `retriever` and `teacher` share, and what
the commands ask that take a served model."""

from typing import ClassVar

from pydantic import Field, model_validator

from distill.recipe.section import Section


class Served(Section):
    section: ClassVar[str | None] = None
    """The recipe's; None: these are options of a command."""

    max_tokens: int = Field(256, gt=0)
    """Of a text; more are not read."""
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once, padding included; null: 1,024 on a CPU, 65,536 on a GPU."""

    base_url: str | None = None
    """Where an OpenAI-compatible server embeds, such as http://localhost:8000/v1."""
    api_key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds its key; the key itself is never written down."""
    query_prompt: str = ""
    document_prompt: str = ""
    """Put before each text where a server embeds; a sentence-transformers model carries its own."""
    concurrency: int = Field(8, gt=0)
    timeout: float = Field(120.0, gt=0, le=86_400)
    retries: int = Field(6, ge=0)

    @model_validator(mode="after")
    def _prompts_fit(self) -> "Served":
        prompts = self.query_prompt or self.document_prompt
        if prompts and self.base_url is None:
            raise ValueError(
                f"{self.key('query_prompt')} and document_prompt are for {self.key('base_url')}: "
                "a sentence-transformers model carries its own prompts"
            )
        return self

    @classmethod
    def key(cls, name: str) -> str:
        """What errors call a setting: retriever.base_url, or --base-url."""
        return f"{cls.section}.{name}" if cls.section else "--" + name.replace("_", "-")
