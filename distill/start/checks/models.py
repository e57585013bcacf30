"""Checks of the models that a recipe names: on this machine, in the hub's cache, on the hub, in a
wheel, or behind a server."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from distill.corpus.held_out import JUDGED
from distill.errors import UserError
from distill.files.read import parse_path
from distill.models.reference import resolve
from distill.models.sources.hub import HUB_ID, check_on_hub
from distill.models.sources.in_memory import is_object
from distill.models.sources.wheel import find_in_cache, parse_wheel
from distill.recipe import LanguageModel, Recipe
from distill.recipe.needs import list_llms
from distill.recipe.sections.embedder import ServedModel
from distill.remote.served_models import list_served_models

_SMALLEST_LLM = 1e9
"""Parameters below which no use of an LLM was measured; see docs/results.md."""
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)\s?([BMbm])(?![A-Za-z])")
"""A model's size in its name: 7B of Qwen2.5-7B-Instruct, 135M of SmolLM2-135M."""
_SHOWN = 5
"""Models of a server that a message names."""


def list_model_checks(recipe: Recipe) -> Iterator[Callable[[], list[str]]]:
    """List a check for each model that the recipe names and uses."""
    relabel, teacher = recipe.relabel, recipe.teacher
    for key, llm in list_llms(recipe).items():
        yield partial(_check_llm, llm, key)
    if JUDGED in recipe.evaluate.tasks:
        judge, key = recipe.evaluate.judged.llm, "evaluate.judged.llm"
        yield partial(_check_llm, judge or recipe.llm, key if judge else "llm")
    if recipe.corpus.tokenizer is not None:
        yield partial(_check_reference, recipe.corpus.tokenizer)
    if recipe.has_corpus:
        yield lambda: _check_embedder(recipe.retriever.model, recipe.retriever)
    for model in (teacher.model, *teacher.additional_models):
        if model is not None:
            yield partial(_check_embedder, model, teacher)
    yield lambda: _check_reference(recipe.student.encoder)
    if relabel.cross_encoder is not None and "cross_encoder" in relabel.rankers:
        own = recipe.judge.encoder or recipe.student.encoder
        encoder = own if recipe.trains_judge else relabel.cross_encoder
        yield lambda: _check_reference(encoder)


def _check_llm(llm: LanguageModel, key: str) -> list[str]:
    if llm.engine != "http":
        return _check_reference(llm.model)
    if is_object(llm.model):
        return []
    served = list_served_models(llm)
    return _check_name(llm.model, served, f"{key}.base_url {llm.base_url}")


def _check_embedder(model: str, settings: ServedModel) -> list[str]:
    if settings.base_url is None:
        return _check_reference(model)
    where = f"{settings.name_key('base_url')} {settings.base_url}"
    return _check_name(model, list_served_models(settings), where)


def _check_name(model: str, served: list[str] | None, where: str) -> list[str]:
    """Check that a model's name can be resolved.

    Raises:
        UserError: if a server lists its models, and this one is not among them.
    """
    if not served or model in served:
        return []
    # Ollama lists a model's name with its tag.
    if any(name.partition(":")[0] == model for name in served):
        return []
    shown = ", ".join(served[:_SHOWN]) + (", ..." if len(served) > _SHOWN else "")
    raise UserError(where, f"serves no model {model!r}, but {shown}", "name one of them")


def _check_reference(reference: str) -> list[str]:
    """Look whether a model is here, or can be fetched.

    Raises:
        UserError: if it is neither.
    """
    if is_object(reference):
        return []
    if reference.startswith("wheel:"):
        if find_in_cache(parse_wheel(reference)) is None:
            return [f"model {reference.partition('#')[0]}: fetched from the package registry"]
        return []
    match = HUB_ID.fullmatch(reference)
    is_path = reference.startswith(("./", "../", "/", "~")) or reference.endswith(".gguf")
    if is_path or match is None or parse_path(reference).exists():
        resolve(reference)
        return []
    return check_on_hub(match["repo"], match["revision"])


def check_llm_size(recipe: Recipe) -> list[str]:
    """Warn of an LLM that is too small to write and to judge, as far as that was measured: see
    docs/results.md."""
    sizes = {key: guess_parameters(llm.model) for key, llm in list_llms(recipe).items()}
    small = {key: size for key, size in sizes.items() if size is not None and size < _SMALLEST_LLM}
    if not recipe.generate.from_passages or not small:
        return []
    named = [*recipe.relabel.rankers, *(recipe.judge.rankers if recipe.trains_judge else [])]
    judges = [ranker for ranker in named if ranker in ("rc", "graded")]
    notices = [
        f"{key}.model: has {size / 1e6:,.0f} million parameters; what an LLM of 135 million wrote "
        "and judged (124 to 180 queries, one seed) added nothing that could be shown, on six "
        "collections, to the transformer that recipes/adapt.yaml adapts to the corpus without an "
        "LLM (docs/results.md)"
        for key, size in small.items()
    ]
    generate = recipe.generate
    if "llm" in small and generate.writes_queries and generate.filters.max_copied is None:
        notices.append(
            "generate.filters.max_copied: is null, and small LLMs copy the words of a passage into "
            "its query; 0.6 drops a query of which more than that stands in the passage"
        )
    if judges and [*sizes][-1] in small:
        notices.append(
            f"relabel.rankers {', '.join(judges)}: reranking by the verdicts of an LLM of 135 "
            "million parameters was worse than no reranking, on both collections where it was "
            "measured, and by [ql, retriever] it was not (docs/results.md)"
        )
    return notices


def guess_parameters(model: str) -> float | None:
    """Guess a model's number of parameters by its name; of a folder without one, by the size of its
    weights of 16 bits. None where neither tells.

    >>> guess_parameters("Qwen/Qwen2.5-7B-Instruct")
    7000000000.0
    """
    name = model.partition("#")[0]
    sizes = [float(n) * (1e9 if unit in "Bb" else 1e6) for n, unit in _SIZE.findall(name)]
    if sizes:
        return sizes[-1]
    folder = Path(model)
    weights = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return sum(weights) / 2 if weights else None


_TERMS = {
    "infonce": "which passage of an example answers its query",
    "multi_positive": "which of the candidates answer a query",
    "align": "the teacher's vectors",
    "kl": "soft scores of a query's candidates",
    "margin_mse": "differences of the candidates' soft scores",
    "similarity_matrix": "the teacher's similarities",
    "relative_order": "the teacher's order of pairs",
    "cosent": "scores of pairs",
    "corpus_softmax": "soft scores of a query's candidates among all passages",
}
"""What the student learns by each term of the objective; gor is learnt from nothing."""


def describe_learning(recipe: Recipe) -> str:
    """Describe in a line what the student starts from, learns from and is compared with, and why it
    has no teacher where none is named."""
    student, teacher = recipe.student, recipe.teacher.model
    stages = recipe.train.list_stages().values()
    terms = [
        f"{learnt} ({term})"
        for term, learnt in _TERMS.items()
        if any(getattr(train.objective, term) for train in stages)
    ]
    is_retriever = student.encoder == recipe.retriever.model
    begins = f"{student.encoder}{', the retriever,' if is_retriever else ''}"
    kept = "all layers" if student.layers is None else f"{len(student.layers)} layers"
    compared = [] if teacher is None else [f"the teacher {teacher}"]
    compared += ["the untrained base", *(["BM25"] if recipe.evaluate.baselines else [])]
    line = (
        f"the student starts from {begins} with {kept}, learns {', '.join(terms) or 'nothing'}, "
        f"and is compared with {' and '.join(compared)}"
    )
    if teacher is not None:
        return line
    return (
        f"{line}; no teacher is named (teacher.model), for these terms need none, and which model "
        "is worth learning from is yours to say: name a larger embedding model, and "
        "train.objective.align, to learn its vectors and be compared with it"
    )
