"""The sections `corpus` and `evaluate`."""

from typing import Literal

from pydantic import Field

from distill.recipe.section import LocalPath, Section, Width, Word


class Corpus(Section):
    source: Literal["beir", "jsonl", "parquet", "dataset", "docstrings"] = "jsonl"
    path: LocalPath | None = None
    """beir: a folder with corpus.jsonl; jsonl, parquet: a file or a folder of files."""
    dataset: Word | None = None
    """A Hugging Face dataset, `owner/name`, read where `path` is not given."""
    config: str | None = None
    """The dataset's configuration."""
    split: str = "train"
    """The dataset's split."""
    id_column: str = "_id"
    """jsonl, parquet, dataset: the columns that hold the id (absent: numbered), title and text."""
    title_column: str = "title"
    text_column: str = "text"
    packages: list[Word] = Field(["numpy", "scipy", "sklearn", "torch", "pandas"], min_length=1)
    """docstrings: installed packages whose public objects are read."""
    held_out: float = Field(0.0, ge=0, lt=1)
    """docstrings: share of the objects kept out of the corpus, for evaluation."""
    max_tokens: int = Field(256, gt=0)
    """Longer texts are split by sentence into passages of at most so many tokens (words and
    punctuation marks, each counted as one and a third)."""
    min_words: int = Field(5, ge=0)
    """Shorter texts are dropped and counted."""
    limit: int | None = Field(None, gt=0)
    """At most so many passages, drawn by the recipe's seed."""


class Evaluate(Section):
    tasks: list[Word] = []
    """mteb's names (SciFact), names of folders under `task_data`, or `held-out`: the docstrings
    that `corpus.held_out` keeps back."""
    benchmarks: list[Word] = []
    """mteb's benchmarks, such as MTEB(eng, v2): all their tasks."""
    task_data: LocalPath | None = None
    """A folder of offline copies, one sub-folder a task; absent: mteb reads the hub."""
    instructions: bool = True
    """Whether models that were trained with instructions, or published so, are told each task; a
    text of a task without sides is then written as a query. Off: one task stands for all."""
    speed_texts: int = Field(256, gt=0)
    """Texts a second are measured on so many passages."""
    widths: list[Width] = []
    """Matryoshka widths at which the student is evaluated too, beside its full width;"""
    precisions: list[Literal["int8", "binary"]] = []
    """forms in which its vectors are stored;"""
    asymmetric: bool = False
    """and its queries over documents that the teacher embeds."""
    published: list[LocalPath] = []
    """Files or folders of results in mteb's format, each a column beside the run's models;"""
    accept_versions: bool = False
    """also where another version of mteb has written them."""
