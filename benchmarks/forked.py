"""Run a function in a process of its own, forked from this one, which has imported the libraries
and computed nothing: its peak memory is that of imports and its own work, and nothing is imported
twice."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def run_forked(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what the function returns; both must be picklable."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(function, *args, **kwargs).result()
