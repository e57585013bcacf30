"""Write the token vectors of a static query encoder in 8 bits: a model of sentence-transformers by
itself, which loads without distill. Each token's row has a scale of its own."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor

from distill.export.parity import Parity, compare_vectors
from distill.models.sentence_transformer import get_query_modules, load_sentence_model

FOLDER = "query-int8"


def find_static(model: SentenceTransformer) -> StaticEmbedding | None:
    """Find the token vectors that queries are embedded by; None for another kind of model."""
    first = next(get_query_modules(model).children(), None)
    return first if isinstance(first, StaticEmbedding) else None


def write_static_int8(
    model: SentenceTransformer, static: StaticEmbedding, folder: Path, queries: list[str]
) -> tuple[Path, Parity]:
    """Write the model's query side into the folder, with its weights in the form that
    sentence-transformers reads from model2vec: whole numbers and a scale for each token.

    Returns:
        The file of the token vectors, and how near its queries' vectors are to the model's.
    """
    alone = SentenceTransformer(
        modules=list(get_query_modules(model).children()),
        prompts={name: prompt or "" for name, prompt in model.prompts.items()},
        similarity_fn_name="cosine",
        device="cpu",
    )
    alone.save_pretrained(str(folder), create_model_card=False)
    path = next(folder.rglob("model.safetensors"))
    numbers, scales = quantize_rows(static.embedding.weight.detach().float().cpu())
    save_file({"embeddings": numbers, "weights": scales}, path)
    other = load_sentence_model(folder, "cpu")
    return path, compare_vectors(alone, other, {"query": queries})


def quantize_rows(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize (tokens, dimensions) to int8 numbers of that shape and their scales, (tokens,)
    float32."""
    scales = vectors.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (vectors / scales[:, None]).round().to(torch.int8), scales
