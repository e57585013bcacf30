"""Embedding models: the protocol `Embedder`, and `Encoder`, an embedder with its prompts."""

from distill.embed.encoder import Embedder, Encoder, Vectors
from distill.embed.wording import EmbedderPrompts
from distill.text.format import Side

__all__ = ["Embedder", "EmbedderPrompts", "Encoder", "Side", "Vectors"]
