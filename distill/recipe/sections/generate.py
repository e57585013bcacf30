"""The `generate` section: methods, prompts, few-shot examples and filters."""

from collections.abc import Collection
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from distill.recipe.sections.section import LocalPath, Section, Word

FreeMethod = Literal["sentences", "titles", "keywords"]
Method = Literal[
    "fret", "custom", "brainstorm", "labelled", "sentences", "titles", "keywords", "log"
]  # fmt: skip
FREE_METHODS: tuple[FreeMethod, ...] = get_args(FreeMethod)
"""Methods that take queries from the passages themselves, without a language model."""
RoundTripBy = Literal["dense", "retriever"]
Group = Literal["short-long", "long-short", "short-short", "long-long", "sts", "bitext"]
TaskType = Literal[
    "question answering",
    "search",
    "fact checking",
    "sentence similarity",
    "title",
    "keyword search",
]
ALL_TASK_TYPES: list[TaskType] = list(get_args(TaskType))


class Filters(Section):
    """Applied in this order to the queries that were read from what the LLM wrote. Each counts
    what it drops; dropped rows are kept in a side table."""

    min_words: int = Field(2, ge=1)
    """Drop a query of fewer words than this."""
    max_words: int = Field(40, ge=1)
    """Drop a query of more words than this."""
    refusals: bool = True
    """Drop refusals, boilerplate, and queries that point at "the passage"."""
    languages: list[Word] | None = None
    """Drop a query detected as a language that is not in this list of ISO 639-1 codes; null: any
    language is accepted. A query written for a language of `generate.languages` must be in that
    one."""
    max_copied: float | None = Field(None, gt=0, le=1)
    """Drop a query that a language model wrote if the longest run of words that it shares with its
    passage makes up more than this share of the query; null: no limit. 0.6 is a convention for
    LLMs of less than a billion parameters, which copy much; it was not measured."""
    decontaminate: bool | None = None
    """Drop queries that share a run of words with an evaluation query, or whose seed passage does;
    null: on when the recipe evaluates on a task."""
    decontaminate_words: int = Field(8, ge=3)
    """Length of the shared run, in words, from which a query counts as contaminated; an evaluation
    query that is shorter counts whole."""
    round_trip: int | None = Field(None, gt=0)
    """Drop a query whose seed passage is not among its first N retrieved passages (Promptagator,
    arXiv 2209.11755); null: off."""
    round_trip_by: RoundTripBy = "dense"
    """What searches for the seed passage, for `round_trip`, `min_similarity` and
    `generate.best_by`. dense: the vectors alone, whatever other sources the retriever has;
    retriever: all of `retriever.sources`, fused as candidates are."""
    min_similarity: float | None = Field(None, gt=-1, lt=1)
    """Drop a query whose cosine similarity to its seed passage is lower than this (Qwen3 Embedding,
    arXiv 2506.05176: 0.7); null: off."""
    exact_duplicates: bool = True
    """Drop a query that was already generated in the same words."""
    near_duplicates: float | None = Field(None, gt=0, lt=1)
    """Drop a query whose Jaccard similarity (character shingles, MinHash) with an earlier one is at
    least this; null: off."""

    def check_sources(self, sources: Collection[str]) -> None:
        """Check that these sources of the retriever give what the filters compare.

        Raises:
            ValueError: naming the key.
        """
        by_bm25 = self.round_trip_by == "retriever" and "dense" not in sources
        if self.min_similarity is not None and by_bm25:
            raise ValueError(
                "generate.filters.min_similarity is a cosine: set round_trip_by: dense, or name "
                "dense among retriever.sources"
            )


class Custom(Section):
    """A user's own way from a passage to a query, without Python."""

    prompt: str = ""
    """A Jinja prompt file, relative to the recipe; it is given `passage`, `title`, `text` and
    `task_type`."""
    json_schema: str = ""
    """A file with the JSON schema of the language model's reply, relative to the recipe."""
    query: str = "query"
    """Property of the reply that holds the query."""
    task: str | None = None
    """Property of the reply that holds the task; null: `default_task` is used for all queries."""
    default_task: str = "Given a query, find the passages that answer it."
    """Task instruction of every query where `task` names no property of the reply."""


Share = Annotated[float, Field(gt=0)]


class Brainstorm(Section):
    """Two-step synthesis without a corpus (E5-Mistral, section 3.1)."""

    groups: list[Group] = Field(
        ["short-long", "long-short", "short-short", "long-long", "sts"], min_length=1
    )
    """Groups of tasks to write examples for, named by the lengths of query and document, or sts
    (similar sentences) or bitext (translations, which need two languages or more)."""
    prompts: str = "prompts/brainstorm"
    """A folder with the prompts tasks-GROUP.jinja and example-GROUP.jinja, relative to the
    recipe."""
    calls: int = Field(2, gt=0)
    """Number of prompts per group that ask the language model to list tasks; sts and bitext need
    none."""
    tasks_per_call: int = Field(20, gt=0)
    """Number of tasks that each task-listing prompt asks for."""
    examples: int = Field(500, gt=0)
    """Number of examples to write in all, spread over the groups by `shares` and evenly over a
    group's tasks."""
    shares: dict[Group, Share] = {}
    """Relative number of examples of each group; 1 for a group that is not named. E5-Mistral (arXiv
    2401.00368): short-long 167, long-short 122, sts 99, bitext 89, long-long 17, short-short 13."""
    same_task: float = Field(0.9, gt=0, le=1)
    """Cosine similarity, by the recipe's retriever, from which two tasks count as the same one."""
    languages: list[Word] = Field(["English"], min_length=1)
    """Languages, by their English names, in which examples are written."""
    max_new_tokens: int = Field(512, gt=0, le=1_000_000)
    """Longest reply of the language model, in tokens."""
    temperature: float = Field(1.0, ge=0, le=100)
    """Sampling temperature of the language model; 0 is greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling: smallest share of probability whose most likely tokens are sampled from."""
    shard_size: int = Field(64, gt=0)
    """Prompts per shard: the most that is lost when the process is killed."""


class LabelledSet(Section):
    """A labelled set whose rows become triples of the same and another label (Gecko, section 4)."""

    path: LocalPath
    """The labelled set: a .tsv, .csv, .jsonl or .parquet file, relative to the recipe's folder, not
    to the one where the command runs; ~ is the home folder."""
    kind: Literal["classification", "nli"] = "classification"
    """Kind of labelled set: classification (texts with labels) or nli (premises and hypotheses with
    labels)."""
    text_column: str = "text"
    """Column that holds the text of a classification set."""
    label_column: str = "label"
    """Column that holds the label."""
    premise_column: str = "premise"
    """Column that holds the premise of an nli set."""
    hypothesis_column: str = "hypothesis"
    """Column that holds the hypothesis of an nli set."""
    task: str
    """Task instruction that the queries of this set are given."""
    examples: int = Field(500, gt=0)
    """Largest number of triples made from this set."""


class FreeQueries(Section):
    """Queries that are taken from the passages themselves, without a language model."""

    queries: int = Field(6000, gt=0)
    """Number of queries to take from the corpus in all, by the methods sentences, titles and
    keywords together, before the filters. What a kind cannot give (titles, where there are none),
    the others give in its place."""
    shares: dict[FreeMethod, Share] = {}
    """Relative number of queries of each kind; 1 for a kind that is not named."""
    per_passage: int = Field(8, gt=0)
    """Largest number of queries of one kind that a passage gives, on a corpus with fewer passages
    than queries to take."""
    sentence_words: tuple[int, int] = (4, 50)
    """Fewest and most words of a sentence that becomes a query."""
    keyword_terms: tuple[int, int] = (2, 7)
    """Fewest and most terms of a bag of keywords. They are drawn from one passage, each term
    weighted by log(passages / passages that have it)."""
    task: str = "Given a query, find the passages that answer it."
    """Task instruction of these queries, for embedders that are told one."""

    @model_validator(mode="after")
    def _check_bounds(self) -> "FreeQueries":
        for key in ("sentence_words", "keyword_terms"):
            fewest, most = getattr(self, key)
            if not 1 <= fewest <= most:
                raise ValueError(f"{key} must be [fewest, most] with 1 <= fewest <= most")
        return self


class QueryLog(Section):
    """A log of queries that users really asked. No passage is known for such a query: relabelling
    retrieves candidates, judges them, and chooses the positive (Gecko, arXiv 2403.20327, section
    3.2)."""

    path: LocalPath | None = None
    """The log, relative to the recipe's folder, not to the one where the command runs (~ is the
    home folder): a text file with a query a line, or a .csv, .tsv, .jsonl, .json or .parquet file
    with a column of queries; compressed or not."""
    query_column: Word | None = None
    """Column of the log that holds the queries; null: found by its usual names, such as query or
    q."""
    queries: int | None = Field(None, gt=0)
    """Largest number of different queries taken from the log, drawn by the recipe's seed; null: all
    of them."""
    min_count: int = Field(1, gt=0)
    """Fewest times that a query was asked; rarer ones are left out, for they may tell who asked."""
    personal_data: Literal["keep", "mask", "drop"] = "keep"
    """What becomes of queries with e-mail addresses, IP addresses or numbers of six digits or more
    (phones, cards, customers): keep leaves them; mask writes [email], [ip] or [number] in their
    place; drop leaves the query out. Names of people are not found."""
    task: str = "Given a query, find the passages that answer it."
    """Task instruction of these queries, for embedders that are told one."""


class Generate(Section):
    """The section `generate`: how training queries are written and filtered."""

    section: ClassVar[str | None] = "generate"
    newer: ClassVar[frozenset[str]] = frozenset({"tasks", "titles"})

    methods: list[Method] = Field(["fret"], min_length=1)
    """Ways to make examples. fret and custom have a language model write a query for a passage;
    brainstorm has it list tasks first and then write whole examples; labelled makes triples from
    labelled sets. sentences, titles and keywords take queries from the passages themselves and need
    no language model: sentences of the passages, their titles or headings, and bags of their rarer
    words (settings in `free`). log takes what users really asked, from a file (settings in
    `log`)."""
    prompt: str = "prompts/fret.jinja"
    """The few-shot prompt of the method fret, a Jinja file relative to the recipe's folder."""
    examples: str = "prompts/fret-examples.yaml"
    """The pool of few-shot examples by task type, a YAML file relative to the recipe's folder."""
    shots: int = Field(6, ge=0)
    """Number of few-shot examples in each prompt."""
    example_sets: int = Field(4, gt=0)
    """Number of different few-shot sets per task type. Each passage gets one of them by seed, and
    what prompts share is computed once."""
    task_types: list[TaskType] = Field(ALL_TASK_TYPES, min_length=1)
    """Task types for which queries are written, each equally often."""
    tasks: dict[TaskType, Word] = {}
    """Task instruction of the queries of each of these types, such as {search: "Given a web search
    query, find passages that answer it."}, in place of the one that the language model wrote. A
    prompt file that sets `task` has it write none. Held-out queries of the task `judged` keep the
    tasks that the language model writes."""
    titles: Literal["always", "never", "auto"] = "always"
    """Whether the prompt shows a passage's title before its text. always: yes; never: the text
    alone, which keeps names out of the queries; auto: not where titles are names, as those of
    docstrings are. A passage without a text is shown by its title."""
    personas: str | None = None
    """A text file with one persona per line, relative to the recipe; one is drawn for each query.
    null: no personas."""
    lengths: list[Word] = []
    """Query lengths in words of the prompt, such as ["less than 5 words", "5 to 15 words"]; one is
    drawn for each query."""
    difficulties: list[Word] = []
    """Difficulties in words of the prompt, such as ["high school", "college", "PhD"]; one is drawn
    for each query."""
    languages: list[Word] = []
    """Languages to write queries in, as ISO 639-1 codes such as [en, de]; one is drawn for each
    query. Empty: the passage's own language."""
    passages: int = Field(500, gt=0)
    """Number of seed passages, drawn without replacement by the recipe's seed."""
    samples: int = Field(1, gt=0)
    """Number of queries written for each seed passage."""
    best_of: int = Field(1, gt=0)
    """Number of candidate replies drawn for each query; the best one by `best_by` is used."""
    best_by: Literal["ql", "round_trip", "contrast"] = "round_trip"
    """How the best of several replies is chosen. ql: by the language model's mean log-likelihood
    per token of the query given its passage; round_trip: by the rank of its passage among the
    retrieved ones, ties by similarity; contrast: by how much likelier the query is given its
    passage than given the nearest other one that it retrieves, in log-likelihood of the whole
    query. Plain likelihood prefers copies and what fits many passages. For contrast the language
    model and the retriever are in memory together."""
    constrain: bool = True
    """Force the reply into its expected structure where the engine supports it."""
    max_new_tokens: int = Field(64, gt=0, le=1_000_000)
    """Longest reply of the language model, in tokens."""
    temperature: float = Field(0.7, ge=0, le=100)
    """Sampling temperature of the language model; 0 is greedy. 0.7 is a convention; recipes for an
    LLM of 135M parameters take 0.3."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus sampling: smallest share of probability whose most likely tokens are sampled from.
    0.95 is a convention that was not measured."""
    min_passage_words: int = Field(0, ge=0)
    """Fewest words (title and text) of a passage that queries are written for, since a model that
    is given little invents the rest. A shorter passage stays in the corpus."""
    max_passage_words: int = Field(120, gt=0)
    """Longest passage inside a generation prompt, in words; the rest is cut off."""
    shard_size: int = Field(64, gt=0)
    """Prompts per shard: the most that is lost when the process is killed."""
    custom: Custom = Custom()
    """Settings of the method custom: your own prompt and reply schema."""
    brainstorm: Brainstorm = Brainstorm()
    """Settings of the method brainstorm: examples without a corpus (E5-Mistral, arXiv 2401.00368,
    section 3.1)."""
    labelled: list[LabelledSet] = []
    """Labelled sets that the method labelled turns into triples of the same and another label
    (Gecko, arXiv 2403.20327, section 4)."""
    free: FreeQueries = FreeQueries()
    """Settings of the methods sentences, titles and keywords, which need no language model."""
    log: QueryLog = QueryLog()
    """Settings of the method log: what users really asked, relabelled like generated queries."""
    filters: Filters = Filters()
    """Filters that drop bad generated queries; each counts what it drops and stores it in a side
    table."""

    @model_validator(mode="after")
    def _check_methods(self) -> "Generate":
        if "fret" in self.methods and "custom" in self.methods:
            raise ValueError("generate.methods: fret and custom both write the queries: name one")
        if "custom" in self.methods and not (self.custom.prompt and self.custom.json_schema):
            raise ValueError(
                "generate.methods has custom: set custom.prompt and custom.json_schema"
            )
        if self.temperature == 0 and max(self.best_of, self.samples) > 1:
            raise ValueError("generate.temperature 0 writes each sample and draw alike")
        if "log" in self.methods and self.log.path is None:
            raise ValueError("generate.methods has log: set generate.log.path")
        if "labelled" in self.methods and not self.labelled:
            raise ValueError("generate.methods has labelled: set generate.labelled")
        return self

    @property
    def writes_queries(self) -> bool:
        """Whether a language model writes queries for passages."""
        return "fret" in self.methods or "custom" in self.methods

    @property
    def free_methods(self) -> list[FreeMethod]:
        """The methods that take queries from the passages without a language model, in their
        order."""
        return [method for method in FREE_METHODS if method in self.methods]

    @property
    def from_passages(self) -> bool:
        """Whether there are queries over passages, and so there is something to relabel."""
        return self.writes_queries or bool(self.free_methods) or "log" in self.methods

    @property
    def example_stages(self) -> list[str]:
        """The stages of examples that a run makes, in the order in which they are trained on."""
        named = {
            "examples": self.from_passages,
            "examples-brainstorm": "brainstorm" in self.methods,
            "examples-labelled": "labelled" in self.methods,
        }
        return [name for name, made in named.items() if made]
