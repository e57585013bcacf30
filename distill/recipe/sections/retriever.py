"""The section `retriever`: the embedder and the BM25 search that find candidates, and the index."""

import re
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from distill.recipe.sections.embedder import EmbedderConfig
from distill.recipe.sections.section import Section, Word

RetrievalSource = Literal["dense", "bm25"]
Language = Literal[
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "czech",
    "danish",
    "dutch",
    "english",
    "esperanto",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "persian",
    "polish",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "sesotho",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
]
"""Languages that have a Snowball stemmer."""


class BM25(Section):
    """Settings of BM25: the language of its word stems, and its two parameters."""

    language: Language | None = None
    """Language whose words are compared by their Snowball stems, without its stop words where bm25s
    lists them; null: words are compared as they are written, in any language. On vaswani English
    stems raise nDCG@10 from 0.352 to 0.428, on cacm from 0.461 to 0.512, on XQuAD Arabic ones from
    0.885 to 0.934."""
    k1: float = Field(1.5, ge=0)
    """BM25's term-frequency saturation: how much a word counts that occurs several times; at 0 it
    counts no more than once. 1.5 is the default of bm25s."""
    b: float = Field(0.75, ge=0, le=1)
    """BM25's length normalisation, from 0 (none) to 1 (full): how much less a word counts in a
    longer passage. 0.75 is the default of bm25s."""

    @field_validator("language", mode="before")
    @classmethod
    def _refuse_a_language_without_a_stemmer(cls, language: Any) -> Any:
        if isinstance(language, str) and language not in get_args(Language):
            raise ValueError(
                f"no stemmer for {language!r}: leave it null, to compare words as they are "
                f"written, or name one of {', '.join(get_args(Language))}"
            )
        return language


class Retriever(EmbedderConfig):
    """The section `retriever`: the embedding model and the BM25 search that find candidates."""

    section: ClassVar[str | None] = "retriever"
    newer: ClassVar[frozenset[str]] = frozenset({"merge"})

    model: Word = "sentence-transformers/all-MiniLM-L6-v2"
    """The embedding model that retrieves candidates: a sentence-transformers model, or with
    `base_url` its name on the server."""
    sources: list[RetrievalSource] = Field(["dense"], min_length=1)
    """Which searches propose candidates: dense, bm25 or both; `merge` says how the results of both
    become one list."""
    merge: Literal["fusion", "union"] = "fusion"
    """How the results of several sources become the candidates of a query. fusion: the first
    `relabel.top_k` by reciprocal rank fusion; union: the first `relabel.top_k` of each source, up
    to twice as many in all, in the order of the fusion."""
    fusion_k: float = Field(60, ge=0)
    """Constant k of the reciprocal rank fusion of several sources (Cormack et al. 2009)."""
    bm25: BM25 = BM25()
    """Settings of the BM25 search: language and weights of words."""
    vectors: Literal["float32", "float16"] = "float32"
    """Number type of the passage vectors stored on disk."""
    vectors_from: str | None = None
    """Folder of another run whose stored vectors, of passages and of other texts, are copied where
    model, texts and settings are the same, so that no text is embedded a second time; null: none.
    It is in no fingerprint."""
    index: str = "exact"
    """Search index: exact, faiss-flat, or a FAISS factory string such as IVF1024,Flat or
    IVF1024,PQ48 or HNSW32. Its recall against exact search is measured and reported."""
    effort: int | None = Field(None, gt=0)
    """Search effort of a FAISS index: the number of lists that an IVF index probes, or HNSW's
    efSearch; null: a sixteenth of the lists, or 128."""
    index_device: Literal["cpu", "gpu"] = "cpu"
    """Where a FAISS index is searched; gpu uses all GPUs of the machine. An exact index needs no
    FAISS: it is searched on `device` where that is an NVIDIA GPU, with equal results."""
    index_gpus: Literal["replicas", "shards"] = "replicas"
    """How a FAISS index is laid out on several GPUs: replicas, each holds the whole index; shards,
    each holds a part of it."""
    index_rows: int | None = Field(None, gt=0)
    """Largest number of passages in one index at a time, for a corpus whose index exceeds memory;
    each part is searched for all queries of a stage, and the best results of the parts are merged.
    null: as many as have 16 GiB of vectors for exact search, all for another index."""

    @model_validator(mode="after")
    def _check_fit(self) -> "Retriever":
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("retriever.sources names one twice")
        if re.search(r"[A-Z]0+(?![0-9])", self.index):
            raise ValueError(f"retriever.index {self.index!r} has a part of size 0")
        if self.index_device == "gpu" and self.index == "exact":
            raise ValueError(
                "retriever.index_device gpu is for an index of FAISS; index exact is searched on "
                "retriever.device"
            )
        return self
