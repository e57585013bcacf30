"""The `generate` section: methods, prompts, few-shot examples and filters."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from distill.recipe.section import LocalPath, Section, Word

Method = Literal["fret", "custom", "brainstorm", "labelled"]
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
    max_words: int = Field(40, ge=1)
    refusals: bool = True
    """Refusals, boilerplate, and queries that point at "the passage"."""
    languages: list[Word] | None = None
    """ISO 639-1 codes; a query detected as another language is dropped. A row written for a
    language of `generate.languages` is held to that one."""
    max_copied: float | None = Field(None, gt=0, le=1)
    """Drop a query of which the longest stretch of words that its passage holds too makes up more
    than this share."""
    decontaminate: bool | None = None
    """Drop queries that share a run of words with an evaluation query, or whose seed passage does;
    null: on when the recipe evaluates on a task."""
    decontaminate_words: int = Field(8, ge=3)
    """The length of that run; shorter evaluation queries count whole."""
    round_trip: int | None = Field(None, gt=0)
    """Drop a query whose seed passage is not among its first so many passages (Promptagator)."""
    min_similarity: float | None = Field(None, gt=-1, lt=1)
    """Drop a query less similar than this (cosine) to its seed passage (Qwen3-Embedding: 0.7)."""
    exact_duplicates: bool = True
    near_duplicates: float | None = Field(None, gt=0, lt=1)
    """Drop a query whose Jaccard similarity (character shingles, MinHash) with an earlier one is
    at least this."""


class Custom(Section):
    """A user's own way from a passage to a query, without Python."""

    prompt: str = ""
    """A Jinja file relative to the recipe, given `passage`, `title`, `text` and `task_type`."""
    json_schema: str = ""
    """A file with the JSON schema of the LLM's reply, relative to the recipe."""
    query: str = "query"
    """The reply's property that holds the query,"""
    task: str | None = None
    """and the one that holds the task; null: `default_task` for all."""
    default_task: str = "Given a query, find the passages that answer it."


Share = Annotated[float, Field(gt=0)]


class Brainstorm(Section):
    """Two-step synthesis without a corpus (E5-Mistral, section 3.1)."""

    groups: list[Group] = Field(
        ["short-long", "long-short", "short-short", "long-long", "sts"], min_length=1
    )
    """bitext, the sixth, needs two languages or more."""
    prompts: str = "prompts/brainstorm"
    """A folder with tasks-GROUP.jinja and example-GROUP.jinja, relative to the recipe."""
    calls: int = Field(2, gt=0)
    """Prompts that list tasks, for each group (sts and bitext need none),"""
    tasks_per_call: int = Field(20, gt=0)
    """and the tasks that each asks for."""
    examples: int = Field(500, gt=0)
    """Examples written in all, spread over the groups by `shares` and evenly over a group's
    tasks."""
    shares: dict[Group, Share] = {}
    """How many examples a group has beside the others, 1 where it is not named (E5-Mistral:
    short-long 167, long-short 122, sts 99, bitext 89, long-long 17, short-short 13)."""
    same_task: float = Field(0.9, gt=0, le=1)
    """Tasks whose embeddings (the recipe's retriever) are as similar as this count once."""
    languages: list[Word] = Field(["English"], min_length=1)
    max_new_tokens: int = Field(512, gt=0, le=1_000_000)
    temperature: float = Field(1.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    shard_size: int = Field(64, gt=0)


class LabelledSet(Section):
    """A labelled set whose rows become triples of the same and another label (Gecko, section 4)."""

    path: LocalPath
    """A .tsv, .csv, .jsonl or .parquet file, relative to the recipe."""
    kind: Literal["classification", "nli"] = "classification"
    text_column: str = "text"
    label_column: str = "label"
    premise_column: str = "premise"
    hypothesis_column: str = "hypothesis"
    task: str
    """The task as its queries name it."""
    examples: int = Field(500, gt=0)
    """At most so many triples."""


class Generate(Section):
    methods: list[Method] = Field(["fret"], min_length=1)
    """fret, or custom: a query from a passage; brainstorm: tasks first, then whole examples;
    labelled: triples from labelled sets."""
    prompt: str = "prompts/fret.jinja"
    """The few-shot prompt, relative to the recipe's folder."""
    examples: str = "prompts/fret-examples.yaml"
    """The pool of few-shot examples, by task type, relative to the recipe's folder."""
    shots: int = Field(6, ge=0)
    """Few-shot examples a prompt,"""
    hands: int = Field(4, gt=0)
    """in so many different draws for each task type: a passage gets one of them by seed, and what
    prompts share is computed once."""
    task_types: list[TaskType] = Field(ALL_TASK_TYPES, min_length=1)
    """Each is written for equally often."""
    personas: str | None = None
    """A text file with one persona a line, relative to the recipe; one is drawn for each row."""
    lengths: list[Word] = []
    """Such as ["less than 5 words", "5 to 15 words"]; one is drawn for each row."""
    difficulties: list[Word] = []
    """Such as ["high school", "college", "PhD"]; one is drawn for each row."""
    languages: list[Word] = []
    """ISO 639-1 codes such as [en, de]; one is drawn for each row. Empty: the passage's own."""
    passages: int = Field(500, gt=0)
    """So many seed passages, drawn without replacement by the recipe's seed."""
    samples: int = Field(1, gt=0)
    """Queries written for each seed passage."""
    best_of: int = Field(1, gt=0)
    """Draws for each query, of which the best is kept"""
    best_by: Literal["ql", "round_trip"] = "round_trip"
    """by the LLM's likelihood of the query given its passage (a token's mean), or by the rank of
    its passage among the retrieved (ties: similarity)."""
    constrain: bool = True
    """Force the form of the reply where the engine can."""
    max_new_tokens: int = Field(64, gt=0, le=1_000_000)
    temperature: float = Field(0.7, ge=0, le=100)
    """0: greedy."""
    top_p: float = Field(0.95, gt=0, le=1)
    min_passage_words: int = Field(0, ge=0)
    """No queries are written for a passage (title and text) of fewer words: an LLM that is told
    little invents the rest. It stays in the corpus."""
    max_passage_words: int = Field(120, gt=0)
    """The passage is cut to so many words inside the prompt."""
    shard_size: int = Field(64, gt=0)
    """Prompts a shard: what at most is lost when the process is killed."""
    custom: Custom = Custom()
    brainstorm: Brainstorm = Brainstorm()
    labelled: list[LabelledSet] = []
    filters: Filters = Filters()

    @model_validator(mode="after")
    def _methods_fit(self) -> "Generate":
        if "fret" in self.methods and "custom" in self.methods:
            raise ValueError("generate.methods: fret and custom both write the queries: name one")
        if "custom" in self.methods and not (self.custom.prompt and self.custom.json_schema):
            raise ValueError(
                "generate.methods has custom: set custom.prompt and custom.json_schema"
            )
        if self.temperature == 0 and max(self.best_of, self.samples) > 1:
            raise ValueError("generate.temperature 0 writes each sample and draw alike")
        if "labelled" in self.methods and not self.labelled:
            raise ValueError("generate.methods has labelled: set generate.labelled")
        return self

    @property
    def from_passages(self) -> bool:
        """Whether queries are written for passages, and so there is something to relabel."""
        return "fret" in self.methods or "custom" in self.methods

    @property
    def example_stages(self) -> list[str]:
        """The stages of examples that a run makes, in the order in which they are trained on."""
        named = {
            "examples": self.from_passages,
            "examples-brainstorm": "brainstorm" in self.methods,
            "examples-labelled": "labelled" in self.methods,
        }
        return [name for name, made in named.items() if made]
