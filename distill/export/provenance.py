"""Describe what a student was made from, by its run's recipe and manifests, for a model card."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distill.files.read import parse_path
from distill.models.model_card import find_licence, read_card
from distill.models.reference import resolve
from distill.recipe import Corpus, Recipe
from distill.recipe.needs import list_llms
from distill.store.stage import open_stage
from distill.store.tables import NO_LLM, QUERIES, read_rows

NOT_STATED = "not stated"
LLM_ROLES = {"llm": "LLM", "relabel.llm": "judging LLM"}
"""What the LLMs are called, by the keys that name them."""
_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Ingredient:
    """A model or corpus that the student was made from."""

    role: str
    name: str
    licence: str


def list_ingredients(recipe: Recipe) -> list[Ingredient]:
    """List corpus, encoder, teacher, and the LLMs where there was work for them, each with its
    licence where its own files state one; no model is fetched to look."""
    ingredients = [
        Ingredient(
            "encoder",
            shorten_reference(recipe.student.encoder),
            find_licence(recipe.student.encoder) or NOT_STATED,
        ),
    ]
    if recipe.teacher.model is not None:
        ingredients.append(
            _describe_model("teacher", recipe.teacher.model, recipe.teacher.base_url)
        )
    for key, llm in list_llms(recipe).items():
        ingredients.append(_describe_model(LLM_ROLES[key], llm.model, llm.base_url))
    if recipe.has_corpus:
        ingredients.append(Ingredient("corpus", describe_corpus(recipe.corpus), NOT_STATED))
    return ingredients


def _describe_model(role: str, reference: str, base_url: str | None) -> Ingredient:
    """Describe a model; of one behind a server only the name is known."""
    if base_url is not None:
        return Ingredient(role, reference, NOT_STATED)
    return Ingredient(role, shorten_reference(reference), find_licence(reference) or NOT_STATED)


def describe_corpus(corpus: Corpus) -> str:
    """Describe the corpus without the folders above it, which say something of a machine only."""
    if corpus.source == "docstrings":
        return f"docstrings of {', '.join(corpus.packages)}"
    if corpus.path is not None:
        return Path(corpus.path).name
    return corpus.dataset or NOT_STATED


def shorten_reference(reference: str) -> str:
    """Shorten a model reference for readers: no checksum, and only the last part of a path, whose
    folders tell of a machine and its people."""
    reference = reference.partition("#")[0]
    if reference.startswith("wheel:") or get_hub_id(reference):
        return reference
    return parse_path(reference).resolve().name


def get_hub_id(reference: str) -> str | None:
    """Return the reference's repository on the hub, if it is one."""
    name = reference.partition("@")[0]
    there = parse_path(reference).exists()
    return name if _HUB.fullmatch(name) and not there else None


def build_licence_keys(reference: str) -> dict[str, str]:
    """Build the licence as a card's front matter has it. The hub takes its own list's names alone
    as `license`: any other is `other`, with the name beside it."""
    stated = find_licence(reference)
    if stated is None:
        return {}
    path = resolve(reference)
    if path.is_dir() and "license_name" in read_card(path):
        return {"license": "other", "license_name": stated}
    return {"license": stated}


def describe_training(run: Path, recipe: Recipe) -> Iterator[str]:
    """Describe the training data for readers of the card, a line for each fact."""
    corpus, train = recipe.corpus, recipe.train
    student = open_stage(run / "student").manifest
    sources = [name for name in student["inputs"] if not _is_no_examples(name)]
    if "passages" in student["inputs"]:
        rows = open_stage(run / "passages").manifest["rows"]
        yield f"Corpus: {describe_corpus(corpus)}, {rows:,} passages."
    if (run / "queries" / ".stage").is_dir():
        yield from _describe_queries(run, recipe.llm.model)
    for name in sources:
        yield _describe_examples(name, open_stage(run / name).manifest)
    weights = {k: v for k, v in train.objective.model_dump().items() if v}
    terms = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    most = "" if train.max_steps is None else f", at most {train.max_steps:,} steps"
    yield f"Objective: {terms}; {train.epochs:g} epochs{most}, batches of {train.batch_size}."
    added = recipe.student.add_static
    if added is not None:
        yield (
            "The transformer's vector and, "
            f"{added.weight:g} times as long on average, the sum of a vector for each token, which "
            f"learnt from the same queries in {added.epochs:g} epochs."
        )
    texts = student.get("figures", {}).get("texts")
    if texts:
        yield f"Aligned with the teacher's vectors on {texts:,} plain texts besides the examples."


def _describe_queries(run: Path, model: str) -> Iterator[str]:
    manifest = open_stage(run / "queries").manifest
    counts = Counter(
        (row["task_type"] if row["llm"] == NO_LLM else "")
        for row in read_rows(QUERIES, run / "queries")
    )
    if written := counts.pop("", 0):
        yield (
            f"Generated queries: {written:,}, written by {shorten_reference(model)} for passages "
            "of the corpus. No person wrote or judged any of them."
        )
    if from_log := counts.pop("log", 0):
        yield f"Queries that users asked: {from_log:,}."
    if counts:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common())
        yield (
            f"Queries out of the passages' own texts: {counts.total():,} ({kinds}). No language "
            "model wrote any of them, and no person judged them."
        )
    filters = {k: v for k, v in manifest["settings"].get("filters", {}).items() if v}
    if filters:
        named = ", ".join(k if v is True else f"{k} {v}" for k, v in filters.items())
        yield f"Filters: {named.replace('_', ' ')}."
    drops = {k: n for k, n in manifest["counts"].items() if k.startswith("dropped")}
    if drops:
        yield (
            "Left out: "
            + ", ".join(f"{k.partition(': ')[2]} {n:,}" for k, n in drops.items())
            + "."
        )


def _is_no_examples(name: str) -> bool:
    """Return whether a stage that the student was made from is something else than examples; what
    is of a run inside the run is the static encoder."""
    return name in ("passages", "base", "labels") or "/" in name


def _describe_examples(name: str, manifest: dict[str, object]) -> str:
    counts = manifest.get("counts")
    moved = counts.get("positive changed") if isinstance(counts, dict) else None
    line = f"Examples (`{name}`): {manifest['rows']:,}"
    return f"{line}; in {moved:,} relabelling chose another positive." if moved else f"{line}."
