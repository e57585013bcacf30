"""Read the data of a task of mteb once, without bars and advice, and sample from it alike for
every model."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from distill.errors import UserError, need
from distill.remote.connect import check_environment

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

SUPERSEDED = "is superseded by"


def load_data(task: "AbsTask") -> None:
    """Read the task's data from the hub, unless a folder has filled it.

    Raises:
        UserError: if the hub cannot be reached, naming the way to do without.
    """
    if task.data_loaded:
        return
    try:
        with silence_libraries():
            task.load_data()
    except Exception as fault:  # a proxy or certificates that cannot be used raise anything
        check_environment(constants.ENDPOINT)
        raise UserError(
            f"task {task.metadata.name}",
            f"its data cannot be read from the hub ({type(fault).__name__})",
            f"connect to the hub, or give --task-data a folder that holds {task.metadata.name}/",
        ) from fault
    if isinstance(task, need("mteb.abstasks", "eval").AbsTaskRetrieval):
        # Some tasks still load in the form of mteb 1, which nothing here reads.
        task.convert_v1_dataset_format_to_v2(num_proc=None)


@contextmanager
def keep_draws(task: Any) -> Iterator[None]:
    """Reset the task's random generator afterwards. mteb draws samples (clustering's texts) from a
    generator in the task: without this, the second model on a task would be measured on others."""
    states = task.rng_state, task.np_rng
    task.rng_state, task.np_rng = copy.deepcopy(states)
    try:
        yield
    finally:
        task.rng_state, task.np_rng = states


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Hide the bars of datasets, as the work has a progress line of its own, and mteb's advice to
    take a task's newer version."""
    bars, logger = (
        need("datasets", "eval").utils.logging,
        logging.getLogger("mteb.abstasks.abstask"),
    )
    hide = bars.is_progress_bar_enabled()
    logger.addFilter(_is_no_advice)
    if hide:
        bars.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f".*{SUPERSEDED}")
            yield
    finally:
        logger.removeFilter(_is_no_advice)
        if hide:
            bars.enable_progress_bar()


def _is_no_advice(record: logging.LogRecord) -> bool:
    return SUPERSEDED not in record.getMessage()
