"""A file of a labelled set as a task of mteb."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from distill.corpus.passages import open_source
from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns, CorpusSource
from distill.corpus.readers.tables import detect_form
from distill.errors import UserError
from distill.files.atomic import explain_os_error
from distill.files.read import describe_search
from distill.recipe import Corpus, Evaluate, LabelledColumns
from distill.tasks.categories.retrieval import RETRIEVAL, make_dataset
from distill.tasks.folder import make_own_task, set_data
from distill.tasks.labelled import name_task, read_labelled

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledOptions:
    """The options of reading labelled files: which columns hold what, and the corpus whose
    documents they may name by id."""

    columns: LabelledColumns = field(default_factory=LabelledColumns)
    open_corpus: Callable[[], CorpusSource] | None = None


def make_recipe_options(evaluate: Evaluate, corpus: Corpus | None, seed: int) -> LabelledOptions:
    """Make the columns that a recipe names, and its own corpus.

    Args:
        corpus: None for a recipe without one.
        seed: of the recipe, by which a part of the corpus is held out.
    """
    opened = None if corpus is None else lambda: open_source(corpus, seed)
    return LabelledOptions(evaluate.columns, opened)


def make_file_options(columns: LabelledColumns, corpus: Path | None) -> LabelledOptions:
    """Make these columns, and the corpus of any form at a path."""
    if corpus is None:
        return LabelledOptions(columns)
    return LabelledOptions(columns, lambda: open_auto(corpus, Columns()))


def make_labelled_task(file: Path, options: LabelledOptions) -> "AbsTask":
    """Make the retrieval task that a labelled set is, named by its file. A file `corpus.jsonl` (or
    .csv and so on) beside it goes before the corpus of the options.

    Raises:
        UserError: if there is no such file, it may not be read, or it is faulty.
    """
    try:
        is_file = file.is_file()
    except OSError as fault:
        raise explain_os_error(fault, file) from fault
    if not is_file:
        raise UserError(
            str(file), f"no such file{describe_search(file)}", "fix the path of the task"
        )
    data, revision = read_labelled(file, options.columns, _find_corpus(file, options))
    task = make_own_task(name_task(file), RETRIEVAL, "test")
    return set_data(task, {"test": make_dataset(data)}, revision)


def _find_corpus(file: Path, options: LabelledOptions) -> CorpusSource | None:
    beside = [
        path
        for path in sorted(file.parent.glob("corpus.*"))
        if detect_form(path) is not None and path.name != file.name
    ]
    if beside:
        _log.info("%s: document ids are those of %s", file, beside[0])
        return open_auto(beside[0], Columns())
    return options.open_corpus() if options.open_corpus is not None else None
