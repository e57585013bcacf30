"""The recipe's retriever over the recipe's passages, which filters and relabelling search."""

from distill.embed.encoder import Encoder
from distill.embed.open_embedder import identify_embedder, open_embedder
from distill.embed.vectors.vector_store import VectorDtype, VectorStore, embed, is_stored
from distill.recipe import BM25, Retriever
from distill.retrieve.exact import SearchIndex
from distill.retrieve.faiss_index import ApproximateIndex
from distill.retrieve.index import check_index, is_exact, make_index
from distill.retrieve.terms import TERMS_RULE
from distill.store.passages import PassageIds, PassageReader, PassageTexts
from distill.store.run import Run
from distill.store.stage import Stage, fingerprint
from distill.store.tables import Row
from distill.workers.local import LOCAL
from distill.workers.protocol import Workers


def identify_retriever(retriever: Retriever, embeds: bool = False) -> dict[str, object]:
    """Collect the settings of a retriever that change its results, for fingerprints. All exact
    indexes give the same results, so only an approximate one is named. A model that is not used is
    not loaded.

    Args:
        embeds: texts are embedded and compared with vectors alone, whatever the sources are.
    """
    sources = ["dense"] if embeds else retriever.sources
    settings: dict[str, object] = {}
    if "dense" in sources:
        settings |= identify_embedder(retriever, retriever.model)
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
        settings |= retriever.model_dump(include={"merge"}, exclude_defaults=True)
    if "dense" in sources and not is_exact(retriever):
        settings |= retriever.model_dump(include={"index", "effort", "index_rows"})
    return settings


def open_encoder(retriever: Retriever, workers: Workers = LOCAL) -> Encoder:
    """Open the recipe's retriever, in this process or behind a server.

    Args:
        workers: who will compute with it.

    Raises:
        UserError: if the model or the server is not available, or the model is causal though it
            must be bidirectional.
    """
    return open_embedder(retriever, retriever.model, workers)


def embed_corpus(
    run: Run, encoder: Encoder, passages: Stage, precision: VectorDtype = "float32"
) -> VectorStore:
    """Return a vector for each passage, in the corpus' order, from the run's store or embedded into
    it. Of the texts one shard is in memory at a time, and of the ids some thousands."""
    reader = PassageReader(passages.folder)
    return embed(
        run.folder / "vectors",
        encoder,
        "document",
        PassageIds(reader),
        _write_texts(reader, encoder),
        "embed passages",
        precision,
        _mark_texts(reader, encoder),
        run.workers,
        run.mirror,
    )


def has_corpus_vectors(run: Run, encoder: Encoder, passages: Stage) -> bool:
    """Return whether `embed_corpus` would embed nothing."""
    reader = PassageReader(passages.folder)
    texts = _write_texts(reader, encoder)
    mark = _mark_texts(reader, encoder)
    ids = PassageIds(reader)
    return is_stored(run.folder / "vectors", encoder, "document", ids, texts, mark=mark)


def _write_texts(reader: PassageReader, encoder: Encoder) -> PassageTexts:
    """Write the passages' texts as the encoder reads them."""

    def write(row: Row) -> str:
        return encoder.wording.write_document(row["text"], row["title"])

    return PassageTexts(reader, write)


def _mark_texts(reader: PassageReader, encoder: Encoder) -> str | None:
    """Return a mark of the texts that the encoder reads: of the passages, and of how it writes
    them."""
    content = reader.fingerprint
    if content is None:
        return None
    examples = [encoder.wording.write_document("text", title) for title in ("", "title")]
    return fingerprint("texts", {"passages": content, "examples": examples}, {})


def open_dense_index(
    run: Run, retriever: Retriever, encoder: Encoder, passages: Stage
) -> tuple[VectorStore, SearchIndex]:
    """Return the corpus' vectors and the recipe's index over them. Where others search it, what is
    trained is made here first: each of them would train it again, and never twice the same.

    Args:
        encoder: of the passages.

    Raises:
        UserError: before anything is embedded, if the recipe's index cannot be made.
    """
    check_index(retriever, encoder.dimensions, len(PassageReader(passages.folder)))
    store = embed_corpus(run, encoder, passages, retriever.vectors)
    index = make_index(retriever, store)
    if isinstance(index, ApproximateIndex) and not (run.workers.local or run.workers.reads_only):
        index.make_parts()
    return store, index
