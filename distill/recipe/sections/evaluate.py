"""The sections `evaluate` and `ablation`: what models are measured on, and which variants of a
recipe are compared."""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from distill.recipe.sections.generate import TaskType
from distill.recipe.sections.llm import LanguageModel
from distill.recipe.sections.section import LocalPath, Section, Seed, Width, Word


class LabelledColumns(Section):
    """The columns of a labelled file that hold questions, answers and scores."""

    question: Word | None = None
    """Column of a labelled file that holds the question; null: found by its usual names, such as
    question, query or q."""
    passage: Word | None = None
    """Column of a labelled file that holds the text of the passage that answers, or a list of
    them; null: found by its usual names, such as passage, context or answer."""
    document: Word | None = None
    """Column of a labelled file that holds the id of the document that answers, or a list of them;
    null: found by its usual names, such as doc_id or corpus-id; where there is a column of passages
    too, the ids are read if the corpus has a document that they name."""
    title: Word | None = None
    """Column of a labelled file that holds the passage's title; null: title, where there is one;
    none: no column."""
    score: Word | None = None
    """Column of a labelled file that holds the relevance, a whole number from 0; null: found by its
    usual names, such as score, relevance or label; without any, each row counts 1; none: no
    column, whatever they are called, so that each row counts 1."""


class JudgedPool(Section):
    """The task `judged`: queries that nothing is trained on, whose answers the LLM judges."""

    newer: ClassVar[frozenset[str]] = frozenset({"source"})

    source: Literal["llm", "log"] = "llm"
    """Where the queries come from. llm: they are written for held-out passages; log: queries of
    `generate.log` that are held out of training, drawn by the recipe's seed, whether or not
    generate.methods has log."""
    queries: int = Field(100, ge=2)
    """Largest number of queries that are asked. Half as many more are written, or held out of the
    log, but no more than half of it: some are near-duplicates of training queries."""
    prompt: str = "prompts/held-out.jinja"
    """The prompt by which these queries are written, a Jinja file relative to the recipe's folder:
    another one than training's, so that a student gains nothing from knowing its habits."""
    examples: str = "prompts/held-out-examples.yaml"
    """The few-shot examples of that prompt by task type, a YAML file relative to the recipe's
    folder: other ones than training's."""
    shots: int = Field(4, ge=0)
    """Number of few-shot examples in each of these prompts."""
    task_types: list[TaskType] = Field(["question answering", "search"], min_length=1)
    """Task types for which these queries are written, each equally often."""
    near_duplicates: float = Field(0.7, gt=0, lt=1)
    """Drop a held-out query whose Jaccard similarity (character shingles, MinHash) with a training
    query, or an earlier held-out one, is at least this."""
    llm: LanguageModel | None = None
    """The language model that writes these queries and judges their answers, with the keys of the
    section `llm`; null: the recipe's own."""
    judge: Literal["graded", "rc"] = "graded"
    """How the language model judges. graded: the expected grade over none, low, medium and high;
    rc: the probability of yes against no. Without log-probabilities both are a grade in words."""
    judge_prompt: str | None = None
    """The judge's prompt, a Jinja file relative to the recipe's folder; null: the packaged one of
    the judge, prompts/graded.jinja or prompts/rc.jinja."""
    depth: int = Field(10, gt=0, le=1000)
    """Number of first passages of each system that are judged."""
    passages: int = Field(10_000, gt=0)
    """Largest number of passages that are searched: the held-out ones, first those that queries
    were written for, and then others, drawn by seed until this number is reached."""
    max_passage_words: int = Field(120, gt=0)
    """Longest passage that is judged, in words; the rest is cut off."""

    @field_validator("llm")
    @classmethod
    def _name_place(cls, llm: LanguageModel | None) -> LanguageModel | None:
        return None if llm is None else llm.put_at("evaluate.judged.llm")


class KnownItemSearch(Section):
    """The task `known-item`: held-out documents, each searched for by its title or a sentence."""

    queries: int = Field(300, ge=30)
    """Largest number of held-out documents that are searched for, each by one query, drawn by the
    recipe's seed."""
    passages: int = Field(100_000, gt=0)
    """Largest number of passages that are searched: all held-out ones, and others, drawn by seed
    until this number is reached."""


class Evaluate(Section):
    """The section `evaluate`: the tasks and the models that are compared on them."""

    section: ClassVar[str | None] = "evaluate"
    newer: ClassVar[frozenset[str]] = frozenset(
        {"baselines", "columns", "judged", "known_item", "margin"}
    )

    tasks: list[Word] = []
    """Tasks to evaluate on: mteb's names (SciFact), names of folders under `task_data`, paths of
    labelled files, relative to the folder where the command runs (SQuAD's JSON, or .csv, .tsv,
    .jsonl, .json, .parquet of questions and passages, or questions and document ids; see
    `columns`); or, of the documents that `corpus.held_out` holds
    back, `judged`, for which the LLM writes queries and judges answers, `known-item`, which are
    searched for by their own titles, and `held-out`, which docstrings answer by themselves."""
    judged: JudgedPool = JudgedPool()
    """Settings of the task judged: its queries, their judge and what is searched."""
    known_item: KnownItemSearch = KnownItemSearch()
    """Settings of the task known-item: its queries and what is searched."""
    benchmarks: list[Word] = []
    """Benchmarks of mteb, such as MTEB(eng, v2), all of whose tasks are evaluated."""
    task_data: LocalPath | None = None
    """A folder with offline copies of the tasks' data, one sub-folder per task; null: mteb reads
    the Hugging Face hub."""
    columns: LabelledColumns = LabelledColumns()
    """Which columns of labelled files in `tasks` hold question, passage, document id, title and
    score. Document ids are those of the run's corpus, or of a file `corpus.jsonl` (.csv and so on)
    beside the labelled file."""
    instructions: bool = True
    """Give each task's instruction to models that were trained or published with instructions. A
    text of a task without queries and documents is then written as a query. When off, one embedding
    of a text serves all tasks."""
    speed_texts: int = Field(256, ge=0)
    """Number of documents on which the models' speed, in texts per second, is measured; 0: no
    measurement."""
    baselines: bool = True
    """Measure BM25, and base, student and teacher each together with BM25 (weighted sum of scores),
    on retrieval tasks. It needs no further embeddings. Words are those of the task's language where
    mteb states it, or else of retriever.bm25.language."""
    margin: float = Field(0.01, gt=0, lt=1)
    """Difference of a score in [0, 1], such as nDCG@10, that does not matter: models are level
    where the 95 % interval of their difference lies within it on both sides."""
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

    @property
    def pool_llm(self) -> LanguageModel | None:
        """The language model of the task `judged`, where the recipe evaluates on it and names
        another one than its own."""
        return self.judged.llm if "judged" in self.tasks else None

    @property
    def names_tasks(self) -> bool:
        """Whether there is anything to evaluate on."""
        return bool(self.tasks or self.benchmarks)


class Ablation(Section):
    """The section `ablation`: variants of a recipe that are trained and compared."""

    arms: dict[str, dict[str, Any]] = {}
    """The variants to compare, by name: for each, the keys in which it differs, such as
    {relabel.positive: seed}. The first variant is the baseline of the comparison."""
    seeds: list[Seed] = Field([0, 1, 2], min_length=1)
    """Training seeds; every variant's student is trained once with each of them."""
