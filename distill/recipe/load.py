"""A run as typed, validated YAML: defaults < file < `--set a.b=c`. Unknown keys are refused with
the nearest known one named; `${NAME}` stands for an environment variable."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from distill.errors import UserError
from distill.recipe.ablation import Ablation
from distill.recipe.data import Corpus, Evaluate
from distill.recipe.generate import Generate
from distill.recipe.llm import LanguageModel
from distill.recipe.relabel import Relabel
from distill.recipe.retriever import Retriever
from distill.recipe.section import Section
from distill.recipe.student import Student
from distill.recipe.teacher import Teacher
from distill.recipe.train import Train


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
    ablation: Ablation = Ablation()

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

    @model_validator(mode="after")
    def _across_sections(self) -> "Recipe":
        objectives = [stage.objective for stage in self.train.in_stages().values()]
        if self.teacher.model is None and any(o.needs_teacher_vectors for o in objectives):
            raise ValueError("train.objective compares with a teacher's vectors: set teacher.model")
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
    _refuse_secrets(values, where)
    return _validated(_with_environment(values), where, file.parent if file else Path("."))


def _validated(values: dict[str, Any], where: str, folder: Path) -> Recipe:
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as fault:
        raise UserError(
            where,
            "; ".join(_readable(error) for error in fault.errors()),
            "`distill run --print-resolved RECIPE` shows every key with its value",
        ) from fault
    recipe._folder = folder
    return recipe


def override(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some keys, `{"a.b": value}`, set to other values.

    Raises:
        UserError: naming the key, if that is no valid recipe.
    """
    values = recipe.model_dump(mode="json")
    for key, value in settings.items():
        *sections, name = key.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return _validated(values, f"recipe {recipe.name}, {', '.join(settings)}", recipe.folder)


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


def _refuse_secrets(values: Any, where: str, path: str = "") -> None:
    """A run keeps its recipe and its manifests: where a key might be put, no variable is read."""
    if isinstance(values, dict):
        for key, inner in values.items():
            _refuse_secrets(inner, where, f"{path}.{key}".strip("."))
    elif isinstance(values, list):
        for inner in values:
            _refuse_secrets(inner, where, path)
    elif isinstance(values, str) and _VARIABLE.search(values):
        if path.endswith(".api_key_variable"):
            remedy = f"write the name alone, without ${{}}: {_VARIABLE.findall(values)[0]}"
            raise UserError(where, f"{path} holds the key in place of a variable's name", remedy)
        if ".extra_body" in path:
            remedy = "give the key by api_key_variable: what stands here is written into the run"
            raise UserError(where, f"{path} reads an environment variable", remedy)


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
