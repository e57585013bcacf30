"""The sections `corpus`, `retriever`, `relabel` and `evaluate`."""

from typing import Literal

from pydantic import Field, model_validator

from distill.recipe.section import Section

Ranker = Literal["ql", "rc", "retriever"]


class Corpus(Section):
    source: Literal["beir", "jsonl", "parquet", "dataset", "docstrings"] = "jsonl"
    path: str | None = None
    """beir: a folder with corpus.jsonl; jsonl, parquet: a file or a folder of files."""
    dataset: str | None = None
    """A Hugging Face dataset, `owner/name`, read where `path` is not given."""
    config: str | None = None
    """The dataset's configuration."""
    split: str = "train"
    """The dataset's split."""
    id_column: str = "_id"
    """jsonl, parquet, dataset: the columns that hold the id (absent: numbered), title and text."""
    title_column: str = "title"
    text_column: str = "text"
    packages: list[str] = ["numpy", "scipy", "sklearn", "torch", "pandas"]
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


class Retriever(Section):
    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    query_template: str = "{task} {query}"
    """How task and query are embedded together (Gecko 3.2)."""
    index: Literal["exact", "faiss-flat"] = "exact"
    max_tokens: int = Field(256, gt=0)
    device: str | None = None
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once, padding included; null: 1,024 on a CPU, 65,536 on a GPU."""


class Relabel(Section):
    prompt_ql: str = "prompts/ql.jinja"
    prompt_rc: str = "prompts/rc.jinja"
    prompt_grade: str = "prompts/grade.jinja"
    """In the place of prompt_rc where a server gives no log-probabilities: a grade in words."""
    top_k: int = Field(20, ge=2)
    """Candidates retrieved for each query (Gecko: 20)."""
    rankers: list[Ranker] = Field(["ql", "rc"], min_length=1)
    """What the reciprocal rank fusion fuses; the first named breaks ties."""
    rrf_k: float = Field(0, ge=0)
    """The constant of reciprocal rank fusion; Gecko uses none."""
    positive: Literal["first", "seed"] = "first"
    """first: the first by fusion (Gecko); seed: the passage that the query was written for."""
    negatives: Literal["lowest", "sampled", "range"] = "lowest"
    """lowest: the last by fusion (Gecko's p_N); sampled: drawn from all but the positive; range:
    drawn from the ranks in `negative_range`."""
    negative_count: int = Field(1, ge=0)
    negative_range: tuple[int, int] = (11, 20)
    """First and last rank by fusion, counted from 1."""
    shard_size: int = Field(256, gt=0)
    """Queries (candidates, labels, examples) or judged pairs a shard."""

    @model_validator(mode="after")
    def _range_in_order(self) -> "Relabel":
        first, last = self.negative_range
        if not 1 <= first <= last:
            raise ValueError("negative_range must be [first, last] with 1 <= first <= last")
        return self


class Evaluate(Section):
    tasks: list[str] = []
    """mteb's names (SciFact), names of folders under `task_data`, or `held-out`: the docstrings
    that `corpus.held_out` keeps back."""
    task_data: str | None = None
    """A folder of offline copies, one sub-folder a task; absent: mteb reads the hub."""
    batch_size: int = Field(64, gt=0)
    speed_texts: int = Field(256, gt=0)
    """Texts a second are measured on so many passages."""
