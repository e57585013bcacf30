"""A run to make stages in, and the engine of a recipe."""

from contextlib import ExitStack

import pytest

from distill.llm.lazy import LazyLLM
from distill.llm.load import load_llm
from distill.recipe import Recipe
from distill.store.run import Run


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", "stale") as run:
        yield run


@pytest.fixture
def open_llm(run):
    """Opens a recipe's engine where a stage needs it."""
    with ExitStack() as stack:

        def open_(recipe: Recipe) -> LazyLLM:
            llm = LazyLLM(lambda: load_llm(recipe.llm, run.folder / "requests.sqlite"))
            stack.callback(llm.close)
            return llm

        yield open_
