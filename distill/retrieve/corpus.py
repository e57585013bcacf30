"""The recipe's retriever over the recipe's passages: what filters, relabelling and whoever else
asks it have in common, so that a run embeds its passages once."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from distill.models import revision
from distill.recipe import Retriever
from distill.retrieve.encoder import SentenceTransformerEncoder
from distill.retrieve.vectors import VectorStore, embed
from distill.run import Run, Stage
from distill.tables import PASSAGES, Reader, passage_text, read_rows


def identity(retriever: Retriever) -> dict[str, object]:
    """What of a retriever changes results: for fingerprints."""
    settings = retriever.model_dump(exclude={"device", "batch_tokens", "index"})
    return {**settings, "revision": revision(retriever.model)}


def open_encoder(retriever: Retriever) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(
        retriever.model, retriever.max_tokens, retriever.device, retriever.batch_tokens
    )


def corpus_vectors(run: Run, encoder: SentenceTransformerEncoder, passages: Stage) -> VectorStore:
    """A vector for each passage, in the corpus' order: from the run's store, or embedded into it.
    Of the texts one shard is in memory at a time; the ids all are."""
    ids = [row["passage_id"] for row in read_rows(PASSAGES, passages.folder)]
    texts = _Texts(passages.folder)
    return embed(run.folder / "vectors", encoder, "document", ids, texts, "embed passages")


class _Texts(Sequence[str]):
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
