"""A run as typed, validated YAML: defaults < file < `--set a.b=c`. Unknown keys are refused with
the nearest known one named; `${NAME}` stands for an environment variable."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from distill.errors import UserError
from distill.files.read import check_value, describe, read_text
from distill.files.read_yaml import parse_yaml
from distill.recipe.environment import read_environment
from distill.recipe.execution import Execution
from distill.recipe.explain import RecipeText, explain_faults, list_known_keys
from distill.recipe.renamed_keys import rename_old_keys
from distill.recipe.sections.corpus import Corpus
from distill.recipe.sections.evaluate import Ablation, Evaluate
from distill.recipe.sections.generate import Generate
from distill.recipe.sections.llm import LanguageModel
from distill.recipe.sections.objective import (
    SCORED_TERMS,
    SoftScoreChoice,
    list_needed_rankers,
    list_score_names,
)
from distill.recipe.sections.relabel import DistilledJudge, Ranker, Relabel
from distill.recipe.sections.retriever import Retriever
from distill.recipe.sections.section import Section, Seed, StoreUrl
from distill.recipe.sections.student import Student
from distill.recipe.sections.teacher import Teacher
from distill.recipe.sections.train import Train


class Recipe(Section):
    """A recipe: all settings of a run, one section for each part of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)
    """Name of the run: lower-case letters, digits and . _ -; its results go to artifacts/NAME by
    default."""
    seed: Seed = 13
    """Seed of all random choices; training may have its own in `train.seed`."""
    corpus: Corpus = Corpus()
    """The passages to make an embedding model for: where they are read and how they are split."""
    llm: LanguageModel = LanguageModel()
    """The language model that writes queries and judges passages, and the engine that runs it."""
    generate: Generate = Generate()
    """How training queries are written: methods, prompts, few-shot examples and filters."""
    retriever: Retriever = Retriever()
    """The embedding model and index that find candidate passages for each query."""
    relabel: Relabel = Relabel()
    """How candidates are judged, and which become positives and negatives."""
    judge: DistilledJudge = DistilledJudge()
    """The small cross-encoder that learns from the judgements: `distill train-judge` trains it, and
    so does a run with relabel.cross_encoder judge."""
    teacher: Teacher = Teacher()
    """The large embedding model that the student learns from and is compared with."""
    student: Student = Student()
    """The model that is trained: its encoder, size, pooling and prompts."""
    train: Train = Train()
    """How the student is trained: data, objective, schedule and hardware."""
    evaluate: Evaluate = Evaluate()
    """Tasks that the student and its teacher are measured on."""
    ablation: Ablation = Ablation()
    """Variants of the recipe that `distill ablate` compares."""

    execution: Execution = Execution()
    """Who does the work of the stages before training: this process, or a Ray cluster."""

    store: StoreUrl | None = None
    """Where the run's folder is copied to while it is written, and from where a machine without
    that folder continues it: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, of
    one run alone; null: nowhere. Credentials come from the environment."""

    _folder: Path = PrivateAttr(Path("."))

    @property
    def folder(self) -> Path:
        """Where the recipe's file lies: prompts are named relative to it."""
        return self._folder

    @property
    def has_corpus(self) -> bool:
        """False for a recipe that only brainstorms, or reads labelled sets."""
        named = self.corpus.path or self.corpus.dataset or self.corpus.source == "docstrings"
        return self.generate.from_passages or bool(named)

    @property
    def own_corpus(self) -> Corpus | None:
        """The section `corpus`; None for a recipe without one."""
        return self.corpus if self.has_corpus else None

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Recipe":
        objectives = [stage.objective for stage in self.train.list_stages().values()]
        if self.teacher.model is None and any(o.needs_teacher_vectors for o in objectives):
            raise ValueError("train.objective compares with a teacher's vectors: set teacher.model")
        self._check_soft_labels()
        self.judge.check_teachers(self.relabel)
        self._check_route()
        self._check_projection()
        lora = self.student.lora
        if self.train.interpolation < 1 and lora is not None and lora.save == "adapter":
            raise ValueError(
                "train.interpolation below 1 changes whole weights: set student.lora.save: merged"
            )
        self._check_embedding_rate()
        self._check_first_round()
        devices = {name: getattr(self, name).device for name in ("llm", "retriever", "teacher")}
        pool_llm = self.evaluate.pool_llm or self.llm
        devices |= {"relabel.llm": self.judging_llm.device, "evaluate.judged.llm": pool_llm.device}
        copies = max(llm.data_parallel for llm in (self.llm, self.judging_llm, pool_llm))
        self.execution.check(devices, copies, self.store, self.train.launcher)
        if "held-out" in self.evaluate.tasks and self.corpus.held_out_share == 0:
            raise ValueError("evaluate.tasks has held-out: set corpus.held_out above 0")
        for task in ("judged", "known-item"):
            if task in self.evaluate.tasks and not (self.has_corpus and self.corpus.held_out_share):
                raise ValueError(f"evaluate.tasks has {task}: set corpus.held_out, such as 0.1")
        self.generate.filters.check_sources(self.retriever.sources)
        if self.holds_out_log and self.generate.log.path is None:
            raise ValueError("evaluate.judged.source is log: set generate.log.path")
        if self.corpus.hold_out_by == "section" and self.corpus.source == "docstrings":
            raise ValueError("corpus.hold_out_by section: docstrings are held out by object")
        if "known-item" in self.evaluate.tasks and self.corpus.source == "docstrings":
            raise ValueError("evaluate.tasks has known-item: docstrings have it in held-out")
        if "held-out" in self.evaluate.tasks and self.corpus.source != "docstrings":
            raise ValueError(
                "evaluate.tasks has held-out, whose queries are the summaries of docstrings: name "
                "judged, for which the LLM writes queries"
            )
        return self

    @property
    def judging_llm(self) -> LanguageModel:
        """The language model that judges candidates: `relabel.llm`, or the one that writes."""
        return self.relabel.llm or self.llm

    @property
    def holds_out_log(self) -> bool:
        """Whether queries of the log are held out of training, for the task `judged`."""
        return "judged" in self.evaluate.tasks and self.evaluate.judged.source == "log"

    @property
    def judge_teachers(self) -> list[Ranker]:
        """The rankers that the judge learns from."""
        return self.judge.list_teachers(self.relabel)

    @property
    def trains_judge(self) -> bool:
        """Whether relabelling takes a judge that this recipe trains first."""
        return self.relabel.takes_own_judge

    def _check_route(self) -> None:
        """Check whether a query encoder is trained as one, and no other student is."""
        rounds_of_queries = self.student.route == "query" and self.relabel.rounds > 1
        if self.relabel.similarity_by == "teacher" and not rounds_of_queries:
            raise ValueError(
                "relabel.similarity_by teacher is for later rounds of a query encoder: set "
                "student.route: query and relabel.rounds above 1"
            )
        objectives = [stage.objective for stage in self.train.list_stages().values()]
        alone = [o.trains_queries_alone for o in objectives]
        if self.student.route == "both":
            if any(alone):
                raise ValueError(
                    "train.objective.corpus_softmax trains queries alone: set student.route: query"
                )
            return
        terms = [o.model_dump(exclude_defaults=True).keys() for o in objectives]
        if not all(alone) or any(len(names) > 1 for names in terms):
            raise ValueError(
                "student.route query: set train.objective: {corpus_softmax: 1.0}, and no other term"
            )
        refusals = {
            "teacher.model": self.teacher.model is None,
            "a corpus": not self.has_corpus,
        }
        for needed in (name for name, missing in refusals.items() if missing):
            raise ValueError(f"student.route query needs {needed}, whose vectors it searches")
        forbidden = {
            "relabel.rounds above 1 without dense among retriever.sources": self.relabel.rounds > 1
            and "dense" not in self.retriever.sources,
            "train.widths": any(t.widths is not None for t in self.train.list_stages().values()),
            "student.symmetric": bool(self.student.symmetric),
            "student.lora.save adapter": self.student.lora is not None
            and self.student.lora.save == "adapter",
        }
        if self.student.architecture == "static":
            forbidden |= {
                "train.kernel": self.train.kernel is not None,
                "train.gradient_checkpointing": self.train.gradient_checkpointing,
            }
        for name in (name for name, present in forbidden.items() if present):
            raise ValueError(f"student.route query does not go with {name}: take it out")

    def _check_projection(self) -> None:
        student = self.student
        if student.projection == "random":
            return
        is_static = student.architecture == "static"
        if student.route == "both" or student.dimensions is None or is_static:
            raise ValueError(
                "student.projection fitted: set student.route: query, and student.dimensions to "
                "the width of the teacher's vectors; an architecture static has no such layer"
            )
        if self.train.interpolation < 1:
            raise ValueError(
                "student.projection fitted: set train.interpolation: 1, for the layer of the base "
                "is random"
            )

    def _check_embedding_rate(self) -> None:
        rates = [t.embedding_learning_rate for t in self.train.list_stages().values()]
        if not any(rates):
            return
        if self.student.architecture == "static":
            raise ValueError(
                "train.embedding_learning_rate: an architecture static has token vectors alone, "
                "and learns them by train.learning_rate: leave it out"
            )
        if self.student.lora is not None:
            raise ValueError(
                "train.embedding_learning_rate: student.lora leaves the token vectors as they are: "
                "leave one of the two out"
            )

    def _check_first_round(self) -> None:
        if self.relabel.first_round == "relabelled":
            return
        if self.relabel.rounds == 1:
            raise ValueError("relabel.first_round seed: there is one round; set relabel.rounds: 2")
        self.train.check_first_round_of_seeds(self.generate.example_stages)

    def _check_soft_labels(self) -> None:
        for train in self.train.list_stages().values():
            for term in SCORED_TERMS:
                if getattr(train.objective, term):
                    self._check_scores(f"train.{term}.scores", getattr(train, term).scores)
            if train.objective.multi_positive:
                self._check_multi_positive(train)
            if not train.objective.kl:
                continue
            kl = train.kl
            if kl.candidates == "all" and "teacher" in list_score_names(kl.scores):
                raise ValueError(
                    "train.kl.candidates all: a teacher scores the chosen ones alone: name "
                    "scores of the labels (ql, rc, retriever, bm25, seed, ...)"
                )
            if kl.candidates == "chosen" and kl.max_candidates is not None:
                raise ValueError(
                    "train.kl.max_candidates is for candidates: all: relabel.negative_count sets "
                    "how many are chosen"
                )

    def _check_multi_positive(self, train: Train) -> None:
        if train.objective.kl:
            raise ValueError(
                "train.objective: kl and multi_positive each have their own list of candidates: "
                "train on them in two of train.stages"
            )
        scores = list_score_names(train.multi_positive.scores)
        if {"teacher", "seed"} & {*scores}:
            raise ValueError(
                "train.multi_positive.scores: neither teacher nor seed judges all candidates: name "
                "a ranker of the labels (rc, graded, cross_encoder, ...)"
            )

    def _check_scores(self, key: str, scores: SoftScoreChoice) -> None:
        """Check whether the labels will hold these soft scores, and on the scale that they are
        named for: temperatures are of scores on a known scale. In a mixture each part has a scale
        of its own list, by tokens or not."""
        if scores in ("ql", "ql_sum") and (scores == "ql") != self.relabel.ql_per_token:
            raise ValueError(
                f"{key} {scores}: relabel.ql_per_token must be {str(scores == 'ql').lower()} (ql "
                "is a token's mean log-likelihood, ql_sum that of a whole query)"
            )
        named = scores if isinstance(scores, str) else ", ".join(scores)
        for ranker in list_needed_rankers(scores):
            if ranker not in self.relabel.rankers:
                raise ValueError(
                    f"{key} {named}: no ranker gives such scores: add {ranker} to relabel.rankers "
                    f"(relabel.weights: {{{ranker}: 0}} leaves it out of the fusion)"
                )
        needs_similarity = {"hybrid", "retriever"} & {*list_score_names(scores)}
        if needs_similarity and "dense" not in self.retriever.sources:
            raise ValueError(
                f"{key} {named}: without dense among retriever.sources there is no similarity to "
                "learn from: name it, or learn from bm25 alone"
            )


def load_recipe(file: Path | None, sets: Sequence[str] = ()) -> Recipe:
    """Load a recipe from its file and the overrides `a.b=value` (value as YAML).

    Raises:
        UserError: naming the file, the row and the key, for anything that is not a valid recipe.
    """
    text = read_text(file, "give the path of a recipe, a .yaml file") if file else ""
    where = str(file) if file else "--set"
    written = RecipeText(
        where, text, validate=lambda some: Recipe.model_validate(_read_values(file, written, some))
    )
    values = _read_values(file, written, sets)
    written.sets |= {item.partition("=")[0]: item for item in sets}
    return _validate(values, written, file.parent if file else Path("."))


def _read_values(file: Path | None, written: RecipeText, sets: Sequence[str]) -> dict[str, Any]:
    """Read the values of a recipe's text with some `--set`, and those of the environment."""
    values = _read_mapping(written) if file else {}
    if file and file.suffix not in (".yaml", ".yml"):
        _refuse_data(file, values)
    if file and _is_copy_in_run(file):
        rename_old_keys(values)
    for item in sets:
        _set(values, item)
    values = read_environment(values, written.where)
    check_value(values, written.where, "correct the key, or the environment variable that it names")
    return values


def _refuse_data(file: Path, values: Mapping[str, Any]) -> None:
    """Refuse a file of texts or questions where a recipe is expected."""
    if values and not values.keys() & Recipe.model_fields.keys():
        raise UserError(
            str(file),
            f"holds no key of a recipe, but {', '.join(map(repr, [*values][:5]))}",
            f"`distill init {file}` writes a recipe for a corpus; a file of questions is named in "
            "evaluate.tasks of a recipe",
        )


def _is_copy_in_run(file: Path) -> bool:
    """Return whether a recipe is the copy that a run holds, which may be of an earlier version."""
    return file.name == "recipe.yaml" and any(file.parent.glob("*/.stage/manifest.json"))


def _validate(values: dict[str, Any], written: RecipeText, folder: Path) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as fault:
        where, what = explain_faults(fault, written, list_known_keys(Recipe))
        remedy = "`distill run --print-resolved RECIPE` shows every key with its value"
        raise UserError(where, what, remedy) from fault
    recipe._folder = folder
    return recipe


def override(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with some keys, `{"a.b": value}`, set to other values.

    Raises:
        UserError: naming the key, if that is no valid recipe.
    """
    values = recipe.model_dump(mode="json")
    for key, value in settings.items():
        _put(values, key, value, f"recipe {recipe.name}, {key}")
    where = f"recipe {recipe.name}, {', '.join(settings)}"
    return _validate(values, RecipeText(where, ""), recipe.folder)


def dump_recipe(recipe: Recipe) -> str:
    """Return every key with its value, as YAML that `load_recipe` reads back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_mapping(written: RecipeText) -> dict[str, Any]:
    values = parse_yaml(written.text, written.where)
    if not isinstance(values, dict):
        raise UserError(
            written.where,
            f"is not a mapping of keys: it is {describe(values)}",
            "begin with `name: my-run`",
        )
    return values


def _set(values: dict[str, Any], item: str) -> None:
    """Put a `--set` into the values."""
    key, sign, text = item.partition("=")
    where = f"--set {item[:100]}"
    if not sign or not all(key.split(".")):
        raise UserError(where, "is not of the form a.b=value", "--set generate.samples=2")
    _put(values, key, parse_yaml(text, where, "quote the value"), where)


def _put(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(where, f"{section!r} is not a section", "see the recipe")
        values = inner
    values[name] = value
