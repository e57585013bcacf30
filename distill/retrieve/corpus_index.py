"""The recipe's retriever over the recipe's passages: what filters, relabelling and whoever else
asks it have in common, so that a run embeds its passages once."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from distill.embed.encoder import Encoder
from distill.embed.open_embedder import embedder_identity, open_embedder
from distill.embed.vector_store import VectorDtype, VectorStore, embed
from distill.embed.wording import PLAIN, EmbedderPrompts
from distill.recipe import BM25, Retriever
from distill.retrieve.exact import SearchIndex
from distill.retrieve.index import check_index, is_exact, make_index
from distill.retrieve.terms import TERMS_RULE
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import passage_text


def identity(retriever: Retriever, embeds: bool = False) -> dict[str, object]:
    """The settings of a retriever that change its results, for fingerprints. All exact indexes give
    the same results, so only an approximate one is named. A model that is not used is not loaded.

    Args:
        embeds: texts are embedded and compared with vectors alone, whatever the sources are.
    """
    sources = ["dense"] if embeds else retriever.sources
    settings: dict[str, object] = {}
    if "dense" in sources:
        settings |= embedder_identity(retriever, retriever.model)
        settings["query_template"] = retriever.query_template
        settings |= retriever.model_dump(include={"vectors"}, exclude_defaults=True)
    if "bm25" in sources:
        settings["bm25_terms"] = TERMS_RULE
        if retriever.bm25 != BM25():
            settings["bm25"] = retriever.bm25.model_dump()
    if sources != ["dense"]:
        settings["sources"] = list(sources)
    if len(sources) > 1:
        settings["fusion_k"] = retriever.fusion_k
    if "dense" in sources and not is_exact(retriever):
        settings |= retriever.model_dump(include={"index", "effort", "index_rows"})
    return settings


def open_encoder(retriever: Retriever) -> Encoder:
    """
    Raises:
        UserError: if the model or the server cannot be had, or the model is causal though it must
            be bidirectional.
    """
    return open_embedder(retriever, retriever.model)


def corpus_vectors(
    run: Run, encoder: Encoder, passages: Stage, precision: VectorDtype = "float32"
) -> VectorStore:
    """A vector for each passage, in the corpus' order: from the run's store, or embedded into it.
    Of the texts one shard is in memory at a time; the ids all are."""
    texts = PassageTexts(passages.folder, encoder.wording)
    ids = PassageReader(passages.folder).read_ids()
    root = run.folder / "vectors"
    return embed(root, encoder, "document", ids, texts, "embed passages", precision)


def dense_index(
    run: Run, retriever: Retriever, encoder: Encoder, passages: Stage
) -> tuple[VectorStore, SearchIndex]:
    """The corpus' vectors and the recipe's index over them.

    Raises:
        UserError: before anything is embedded, if the recipe's index cannot be made.
    """
    check_index(retriever, encoder.dimensions, len(PassageReader(passages.folder)))
    store = corpus_vectors(run, encoder, passages, retriever.vectors)
    return store, make_index(retriever, store)


class PassageTexts(Sequence[str]):
    """The passages' texts by number, as an encoder reads them, taken from their shards as they are
    asked for."""

    def __init__(self, folder: Path, wording: EmbedderPrompts = PLAIN) -> None:
        self._rows = PassageReader(folder)
        self._wording = wording

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self._text(i) for i in range(*number.indices(len(self)))]
        return self._text(number)

    def _text(self, number: int) -> str:
        row = self._rows[number]
        if self._wording.titled is None:
            return self._wording.document + passage_text(row)
        return self._wording.write_document(row["text"], row["title"])
