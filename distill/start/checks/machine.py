"""Checks of this machine: extras that a recipe needs, languages, and room on the disk."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from distill.errors import UserError, install_command
from distill.files.atomic import format_bytes
from distill.files.read import parse_path
from distill.object_store.address import is_store_address, parse_address
from distill.object_store.download import list_input
from distill.object_store.objects import ObjectFolder
from distill.recipe import Recipe
from distill.recipe.needs import list_llms

_BYTES_PER_TOKEN = 4
"""Of English text; other scripts have more bytes a character and fewer characters a token."""
_DIMENSIONS = 1024
"""Of an embedding model whose width is not known before it is loaded."""
_COPIES_OF_TEXT = 4
"""Tables that hold the corpus' words again: passages, prompts, candidates, examples."""
_STUDENT_BYTES = 2 * 2**30
"""Base, student and two checkpoints with their optimizer, of a small encoder."""


def list_extra_checks(recipe: Recipe) -> Iterator[Callable[[], list[str]]]:
    """List a check for each package that the recipe needs beyond a base installation."""
    for key, modules, extra in _list_needs(recipe):
        yield partial(_check_extra, key, modules, extra)


def _check_extra(key: str, modules: list[str], extra: str) -> list[str]:
    """Look whether one of the modules is installed.

    Raises:
        UserError: naming the extra, if none of the modules is installed.
    """
    if not any(importlib.util.find_spec(module) for module in modules):
        what = f"needs {modules[0]}, which is not installed"
        raise UserError(key, what, install_command(extra))
    return []


def _list_needs(recipe: Recipe) -> Iterator[tuple[str, list[str], str]]:
    """List the key of the recipe, modules of which one is needed, and the extra that brings it."""
    llms = {"llm": recipe.llm, **list_llms(recipe)}
    if recipe.evaluate.pool_llm is not None:
        llms["evaluate.judged.llm"] = recipe.evaluate.pool_llm
    for key, llm in llms.items():
        if llm.engine == "vllm":
            yield f"{key}.engine vllm", ["vllm"], "gpu"
    if recipe.retriever.index != "exact":
        yield f"retriever.index {recipe.retriever.index}", ["faiss"], "cpu"
    if recipe.execution.mode == "ray":
        yield "execution.mode ray", ["ray"], "ray"
    if recipe.train.launcher == "ray":
        yield "train.launcher ray", ["ray"], "ray"
    if recipe.store is not None:
        yield "store", ["obstore"], "store"
    if recipe.corpus.path is not None and is_store_address(recipe.corpus.path):
        yield "corpus.path", ["obstore"], "store"
    if recipe.evaluate.names_tasks:
        yield "evaluate", ["mteb"], "eval"
        yield "the report", ["matplotlib"], "eval"


def check_store(recipe: Recipe) -> list[str]:
    """Look whether the store can be read with the credentials of the environment. Whether it can be
    written shows when the run begins, with its lease.

    Raises:
        UserError: if it cannot.
    """
    if recipe.store is None or importlib.util.find_spec("obstore") is None:
        return []
    objects = ObjectFolder(parse_address(recipe.store))
    there = next(objects.list(), None)
    return [] if there is None else [f"{recipe.store} holds a run, which this one will continue"]


def check_languages(recipe: Recipe) -> list[str]:
    """Look whether the languages are known by the stemmer and by the language filter.

    Raises:
        UserError: naming the language.
    """
    retriever = recipe.retriever
    if "bm25" in (*retriever.sources, *recipe.relabel.rankers):
        from distill.retrieve.terms import make_term_splitter

        make_term_splitter(retriever.bm25.language)
    if recipe.generate.filters.languages:
        from distill.generate.filters.language import make_language_filter

        make_language_filter(recipe.generate.filters.languages)
    return []


def check_disk(recipe: Recipe, folder: Path) -> list[str]:
    """Compare the free disk with a rough estimate of what the run will write.

    Raises:
        UserError: if the folder cannot be written.
    """
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        raise UserError(str(there), "cannot be written", "name another folder with --run")
    needed, free = estimate_bytes(recipe), shutil.disk_usage(there).free
    if free < needed:
        # A rough estimate from above, which a small student stays far below: no fault.
        return [
            f"{folder}: the run may write up to {format_bytes(needed)}, and {format_bytes(free)} "
            "are free there; name a folder on another disk with --run, or set corpus.limit"
        ]
    return []


def estimate_bytes(recipe: Recipe) -> int:
    """Estimate roughly how many bytes a run will write at most: vectors of all passages for two
    models, tables with their texts, and the student with its checkpoints."""
    corpus, per_number = recipe.corpus, 4 if recipe.retriever.vectors == "float32" else 2
    text = 0 if corpus.path is None else _measure(corpus.path)
    passages = text // (corpus.max_tokens * _BYTES_PER_TOKEN) + 1
    if corpus.limit is not None and corpus.limit < passages:
        text, passages = text * corpus.limit // passages, corpus.limit
    vectors = 2 * passages * _DIMENSIONS * per_number
    return vectors + _COPIES_OF_TEXT * text + _STUDENT_BYTES


def _measure(name: str) -> int:
    """Measure the bytes of a file, of all files below a folder, or of the objects in a store."""
    if is_store_address(name):
        return sum(one.size for one in list_input(name))
    path = parse_path(name)
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
