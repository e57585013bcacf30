"""Texts under a prompt -> vectors as the model gives them: by a model in this process, or by a
server."""

import json
from collections.abc import Sequence
from typing import Protocol

from distill.embed.encoder import Vectors
from distill.embed.endpoint import EndpointEncoder
from distill.recipe import EmbedderConfig as Settings
from distill.text.format import Side


class TextEmbedder(Protocol):
    """`distill.embed.local.LocalEmbedder` is one."""

    dimensions: int

    def identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        """Everything beside the text, and the model's revision, that changes its vector."""
        ...

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """(texts, dimensions), float32."""
        ...


class EndpointEmbedder:
    """A model behind an OpenAI-compatible `/v1/embeddings` endpoint; its vectors have length one.

    Raises:
        UserError: from the constructor and from `embed`, if the server refuses or stays silent.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._encoder = EndpointEncoder(settings, model)
        self._max_tokens = settings.max_tokens
        self.dimensions = self._encoder.dimensions

    def identity(self, prompt: str, side: Side | None) -> dict[str, str | int]:
        fields = self._encoder.fields(side)
        sent = {"fields": json.dumps(fields, sort_keys=True)} if fields else {}
        return {"prompt": prompt, "max_tokens": self._max_tokens, **sent}

    def embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        return self._encoder.encode_under(prompt, texts, side)
