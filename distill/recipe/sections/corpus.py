"""The section `corpus`: the passages to make an embedding model for."""

from typing import ClassVar, Literal

from pydantic import Field

from distill.recipe.sections.section import InputPath, Section, Word


class Corpus(Section):
    """The section `corpus`: the passages to make an embedding model for, and how they are split."""

    newer: ClassVar[frozenset[str]] = frozenset({"hold_out_by"})

    source: Literal["auto", "beir", "jsonl", "parquet", "dataset", "docstrings"] = "jsonl"
    """Format of the corpus: beir, jsonl, parquet, dataset (Hugging Face), or docstrings of
    installed Python packages; auto finds out what lies at `path` by the files' names: texts (.txt,
    .md, .rst, .html, .pdf, .docx, manual pages), rows (.jsonl, .json, .csv, .tsv, .parquet) or
    BEIR, compressed or not."""
    path: InputPath | None = None
    """Where the corpus lies: on this machine, or in an object store (s3://BUCKET/PREFIX, gs://,
    az://), from which it is copied once into the cache. For beir a folder with corpus.jsonl; for
    jsonl and parquet a file or a folder of files; for auto any of them, and wildcards in its last
    part (2026-*.csv); null: not read from a path."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What becomes of text files of an auto corpus that cannot be read, such as those in another
    encoding than UTF-8, or scanned PDFs: refuse names them and stops; skip leaves them out, says so
    and counts them."""
    dataset: Word | None = None
    """A Hugging Face dataset, `owner/name`, read where `path` is not given; null: none."""
    config: str | None = None
    """Configuration of the Hugging Face dataset; null: its default one."""
    split: str = "train"
    """Split of the Hugging Face dataset to read."""
    id_column: str = "_id"
    """Column of a jsonl, parquet or dataset corpus that holds the passage's id; where it is absent,
    passages are numbered; none: they are numbered, whatever the columns are called."""
    title_column: str = "title"
    """Column of a jsonl, parquet or dataset corpus that holds the passage's title."""
    text_column: str = "text"
    """Column of a jsonl, parquet or dataset corpus that holds the passage's text."""
    packages: list[Word] = Field(["numpy", "scipy", "sklearn", "torch", "pandas"], min_length=1)
    """Installed Python packages whose public objects' docstrings are the corpus; for the docstrings
    source alone."""
    held_out: float | None = Field(None, ge=0, lt=1)
    """Share of the documents held out for evaluation, from 0 to below 1, drawn by the recipe's
    seed: none of their passages is trained on, and the tasks judged, known-item and held-out ask
    for them. Sections of one file, and objects with one summary, stay together. null: 0 where
    `evaluate` names tasks or benchmarks; where it names none, a run chooses the share and the task
    when it begins, if the corpus has documents enough; of a share that is written it chooses the
    task."""
    hold_out_by: Literal["document", "section"] = "document"
    """What is held out whole. document: files with all their sections, and rows; section: what
    stands below one heading, and of longer texts eight passages in a row, for corpora of few large
    documents, whose other sections are then trained on. Where a run chooses `held_out`, it chooses
    this, too: section where the documents are too few and their sections are not."""
    max_tokens: int = Field(256, gt=0)
    """Longest passage in tokens; longer texts are split by sentence. Without `tokenizer` tokens are
    estimated: a word or punctuation mark counts as one and a third."""
    tokenizer: Word | None = None
    """A model, such as the student's encoder, whose tokenizer counts the tokens of `max_tokens`;
    null: they are estimated, so that another student needs no other passages."""
    min_words: int = Field(5, ge=0)
    """Fewest words of a passage; shorter ones are dropped and counted."""
    limit: int | None = Field(None, gt=0)
    """Largest number of passages, drawn by the recipe's seed; null: all of them."""

    @property
    def held_out_share(self) -> float:
        """The share that is held out: 0 where that was neither set nor chosen."""
        return self.held_out or 0.0
