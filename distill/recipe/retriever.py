"""The section `retriever`: which embedder finds candidates, and how they are looked for."""

import re
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distill.recipe.bm25 import BM25
from distill.recipe.embedder import Embedder
from distill.recipe.section import Word

Source = Literal["dense", "bm25"]


class Retriever(Embedder):
    section: ClassVar[str | None] = "retriever"

    model: Word = "sentence-transformers/all-MiniLM-L6-v2"
    """A sentence-transformers model; with `base_url`, the name under which a server has it."""
    sources: list[Source] = Field(["dense"], min_length=1)
    """What proposes candidates; several are fused by reciprocal ranks."""
    fusion_k: float = Field(60, ge=0)
    """The constant of that fusion (Cormack et al. 2009)."""
    bm25: BM25 = BM25()
    vectors: Literal["float32", "float16"] = "float32"
    """Of the vectors on disk."""
    index: str = "exact"
    """exact; or faiss-flat; or a FAISS factory string, such as IVF1024,Flat or IVF1024,PQ48 or
    HNSW32, whose recall against exact search is measured and reported."""
    effort: int | None = Field(None, gt=0)
    """FAISS: the lists that an IVF index probes, or HNSW's efSearch; null: a sixteenth of the
    lists, or 128."""
    index_device: Literal["cpu", "gpu"] = "cpu"
    """FAISS: gpu uses all GPUs,"""
    index_gpus: Literal["replicas", "shards"] = "replicas"
    """each with the whole index, or with a part of it."""
    index_rows: int | None = Field(None, gt=0)
    """Passages in one index at a time, for a corpus whose index is larger than memory; the parts'
    best are merged."""

    @model_validator(mode="after")
    def _fits(self) -> "Retriever":
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("retriever.sources names one twice")
        if re.search(r"[A-Z]0+(?![0-9])", self.index):
            raise ValueError(f"retriever.index {self.index!r} has a part of size 0")
        if self.index_device == "gpu" and self.index == "exact":
            raise ValueError(
                "retriever.index_device gpu needs an index of FAISS, such as faiss-flat"
            )
        return self
