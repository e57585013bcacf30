"""The recipe's retriever over the recipe's passages: what filters, relabelling and whoever else
asks it have in common, so that a run embeds its passages once."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from distill.errors import UserError
from distill.models import revision
from distill.recipe import Retriever
from distill.retrieve.encoder import Encoder, SentenceTransformerEncoder, computed_dtype
from distill.retrieve.endpoint import EndpointEncoder
from distill.retrieve.index import check_index, is_exact, make_index
from distill.retrieve.search import Index
from distill.retrieve.vectors import Precision, VectorStore, embed
from distill.run import Run, Stage
from distill.tables import PASSAGES, Reader, passage_text, read_rows

_ALWAYS = {"model", "query_template", "max_tokens"}
_WHERE_CHANGED = {"vectors", "query_prompt", "document_prompt"}
"""Left out where they are as they were before they could be set."""


def identity(retriever: Retriever) -> dict[str, object]:
    """What of a retriever changes results: for fingerprints. Exact indexes all give the same, so
    only another one is named. A server answers for its own model: of that only the name is known,
    and the address is no part of it."""
    settings = retriever.model_dump(include=_ALWAYS)
    settings |= retriever.model_dump(include=_WHERE_CHANGED, exclude_defaults=True)
    settings |= retriever.fields_identity
    served = retriever.base_url is not None
    settings["revision"] = "served" if served else revision(retriever.model)
    dtype = "float32" if served else computed_dtype(retriever.dtype, retriever.device)
    if dtype != "float32":
        settings["dtype"] = dtype
    if retriever.sources != ["dense"]:
        settings["sources"] = list(retriever.sources)
    if len(retriever.sources) > 1:
        settings["fusion_k"] = retriever.fusion_k
    if not is_exact(retriever):
        settings |= retriever.model_dump(include={"index", "effort", "index_rows"})
    return settings


def open_encoder(retriever: Retriever) -> Encoder:
    """
    Raises:
        UserError: if the model or the server cannot be had, or the model is causal though it must
            be bidirectional.
    """
    if retriever.base_url is None:
        return SentenceTransformerEncoder(
            retriever.model,
            retriever.max_tokens,
            retriever.device,
            retriever.batch_tokens,
            retriever.dtype,
            retriever.bidirectional,
        )
    if retriever.bidirectional:
        raise UserError(
            "retriever.bidirectional",
            "cannot be checked of a model behind retriever.base_url",
            "take it out; check the model where it runs",
        )
    return EndpointEncoder(retriever, retriever.model)


def corpus_vectors(
    run: Run, encoder: Encoder, passages: Stage, precision: Precision = "float32"
) -> VectorStore:
    """A vector for each passage, in the corpus' order: from the run's store, or embedded into it.
    Of the texts one shard is in memory at a time; the ids all are."""
    ids = passage_ids(passages)
    texts = Texts(passages.folder)
    root = run.folder / "vectors"
    return embed(root, encoder, "document", ids, texts, "embed passages", precision)


def dense_index(
    run: Run, retriever: Retriever, encoder: Encoder, passages: Stage
) -> tuple[VectorStore, Index]:
    """The corpus' vectors and the recipe's index over them.

    Raises:
        UserError: before anything is embedded, if the recipe's index cannot be made.
    """
    check_index(retriever, encoder.dimensions, len(Texts(passages.folder)))
    store = corpus_vectors(run, encoder, passages, retriever.vectors)
    return store, make_index(retriever, store)


def passage_ids(passages: Stage) -> list[str]:
    return [row["passage_id"] for row in read_rows(PASSAGES, passages.folder)]


class Texts(Sequence[str]):
    """The passages' texts by number, read from their shards as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._rows = Reader(PASSAGES, folder)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [passage_text(self._rows[i]) for i in range(*number.indices(len(self)))]
        return passage_text(self._rows[number])
