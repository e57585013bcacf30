"""The query side of a model that embeds queries and documents by two models: as a model of its own,
which a graph can hold."""

from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

from distill.export.parity import TextsBySide
from distill.models.sentence_transformer import get_query_modules

FOLDER = "query"
"""Where the graphs of the query side and its tokenizer lie in an export."""


def has_two_sides(model: SentenceTransformer) -> bool:
    """Return whether queries have modules of their own; documents may have none."""
    return isinstance(model[0], Router)


def has_documents_side(model: SentenceTransformer) -> bool:
    """Return whether the model embeds documents, too."""
    first = model[0]
    return not isinstance(first, Router) or "document" in first.sub_modules


def is_bag_of_tokens(model: SentenceTransformer) -> bool:
    """Return whether a query's vector is the mean of its tokens' vectors, of length 1, with no
    prompt before it."""
    first, *others = get_query_modules(model).children()
    plain = isinstance(first, StaticEmbedding) and all(isinstance(m, Normalize) for m in others)
    return plain and not model.prompts.get("query")


def select_texts(model: SentenceTransformer, texts: TextsBySide) -> TextsBySide:
    """Select the texts of the sides that the model embeds."""
    return texts if has_documents_side(model) else {"query": texts["query"]}


def open_query_side(model: SentenceTransformer) -> SentenceTransformer:
    """Return the modules that embed queries, which are the model's own, as a model; a model without
    two sides itself."""
    if not has_two_sides(model):
        return model
    return SentenceTransformer(
        modules=list(get_query_modules(model).children()),
        prompts={"query": model.prompts.get("query") or ""},
        similarity_fn_name="cosine",
        device="cpu",
    )


def place_graph(model: SentenceTransformer, folder: Path) -> Path:
    """Return the folder that the model's graphs are written below, with the tokenizer of the query
    side in it where that is not the whole model."""
    if not has_two_sides(model):
        return folder
    place = folder / FOLDER
    if not place.is_dir():
        place.mkdir()
        open_query_side(model).tokenizer.save_pretrained(place)
    return place
