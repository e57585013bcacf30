"""The sections `corpus` and `evaluate`."""

from typing import Literal

from pydantic import Field

from distill.recipe.sections.section import LocalPath, Section, Width, Word


class Corpus(Section):
    source: Literal["beir", "jsonl", "parquet", "dataset", "docstrings"] = "jsonl"
    """Format of the corpus: beir, jsonl, parquet, dataset (Hugging Face), or docstrings of
    installed Python packages."""
    path: LocalPath | None = None
    """Where the corpus lies. For beir a folder with corpus.jsonl; for jsonl and parquet a file or a
    folder of files; null: not read from a path."""
    dataset: Word | None = None
    """A Hugging Face dataset, `owner/name`, read where `path` is not given; null: none."""
    config: str | None = None
    """Configuration of the Hugging Face dataset; null: its default one."""
    split: str = "train"
    """Split of the Hugging Face dataset to read."""
    id_column: str = "_id"
    """Column of a jsonl, parquet or dataset corpus that holds the passage's id; where it is absent,
    passages are numbered."""
    title_column: str = "title"
    """Column of a jsonl, parquet or dataset corpus that holds the passage's title."""
    text_column: str = "text"
    """Column of a jsonl, parquet or dataset corpus that holds the passage's text."""
    packages: list[Word] = Field(["numpy", "scipy", "sklearn", "torch", "pandas"], min_length=1)
    """Installed Python packages whose public objects' docstrings are the corpus; for the docstrings
    source alone."""
    held_out: float = Field(0.0, ge=0, lt=1)
    """Share of the documented objects held out of the corpus for evaluation, from 0 to below 1; for
    the docstrings source alone."""
    max_tokens: int = Field(256, gt=0)
    """Longest passage in estimated tokens; longer texts are split by sentence. A word or
    punctuation mark is counted as one and a third tokens."""
    min_words: int = Field(5, ge=0)
    """Fewest words of a passage; shorter ones are dropped and counted."""
    limit: int | None = Field(None, gt=0)
    """Largest number of passages, drawn by the recipe's seed; null: all of them."""


class Evaluate(Section):
    tasks: list[Word] = []
    """Tasks to evaluate on: mteb's names (SciFact), names of folders under `task_data`, or
    `held-out`, the docstrings that `corpus.held_out` holds back."""
    benchmarks: list[Word] = []
    """Benchmarks of mteb, such as MTEB(eng, v2), all of whose tasks are evaluated."""
    task_data: LocalPath | None = None
    """A folder with offline copies of the tasks' data, one sub-folder per task; null: mteb reads
    the Hugging Face hub."""
    instructions: bool = True
    """Give each task's instruction to models that were trained or published with instructions. A
    text of a task without queries and documents is then written as a query. When off, one embedding
    of a text serves all tasks."""
    speed_texts: int = Field(256, gt=0)
    """Number of documents on which the models' speed, in texts per second, is measured."""
    widths: list[Width] = []
    """Matryoshka widths (dimensions, arXiv 2205.13147) at which the student is evaluated in
    addition to its full width."""
    precisions: list[Literal["int8", "binary"]] = []
    """Quantized forms of the student's vectors that are evaluated in addition to float32: int8,
    binary, or both."""
    asymmetric: bool = False
    """Evaluate the student's queries against documents embedded by the teacher as well."""
    published: list[LocalPath] = []
    """Files or folders with results in mteb's format; each becomes a column beside the run's
    models."""
    accept_versions: bool = False
    """Accept published results that another version of mteb has written."""
