"""Checks of what a recipe reads: its corpus, labelled sets and evaluation tasks."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from distill.corpus.held_out import KNOWN_ITEM, OWN_TASKS
from distill.corpus.passages import open_source
from distill.corpus.readers.rows import CorpusSource, Document
from distill.corpus.split import split_text
from distill.corpus.token_counts import open_token_count
from distill.errors import UserError, need
from distill.files.atomic import format_bytes
from distill.files.read import describe_search, open_bytes, parse_path
from distill.generate.known_item.items import LEAST_ITEMS, can_be_searched_for
from distill.generate.log.stage import LogSettings, select_log_queries
from distill.object_store.address import is_store_address
from distill.object_store.download import list_input
from distill.recipe import Corpus, Recipe
from distill.start.choice.settle import is_elsewhere
from distill.start.survey import count_languages, split_document
from distill.tasks.folder import LAYOUTS

_FIRST = 100
"""Rows or documents of a corpus that are looked at."""
_MANY = 3000
"""Documents of a corpus that is not small: of so many, the least share gives queries enough."""
_WITHOUT_CANDIDATES = {"labelled", "brainstorm"}
"""Methods of queries that bring their passages with them."""
_STAND_IN = (
    "evaluate.tasks: known-item alone: documents are searched for by their own titles, which "
    "favours BM25 and says little about questions of people; add labelled questions "
    "(questions.csv), or an LLM that judges (judged)"
)
NO_TASKS = (
    "no evaluation task: the run ends with a student that is not measured. With questions and "
    "answers of your own: evaluate.tasks: [questions.csv]; see `distill explain evaluate.tasks`"
)


def check_corpus(recipe: Recipe) -> list[str]:
    """Open the corpus and read its first documents.

    Raises:
        UserError: if it cannot be read, a column that the recipe names is missing, or it has fewer
            passages than the recipe compares a query with.
    """
    corpus = recipe.corpus
    if not recipe.has_corpus:
        return []
    if corpus.source == "docstrings":
        return _check_packages(corpus.packages)
    if corpus.source == "dataset" or (corpus.path is None and corpus.dataset is not None):
        return [f"corpus: {corpus.dataset} is read from the Hugging Face hub when the run begins"]
    if _is_stored(recipe):
        there = list_input(str(corpus.path))
        size = format_bytes(sum(one.size for one in there))
        return [f"corpus: {len(there)} objects, {size}, are read when the run begins"]
    source = open_source(corpus, recipe.seed)
    first = list(itertools.islice(source.read(), _FIRST))
    if first and not any(isinstance(document, Document) for document in first):
        raise UserError(
            source.where,
            f"none of the first {len(first)} documents has a text",
            "name the column or files with the text: corpus.text_column, corpus.path",
        )
    documents = [document for document in first if isinstance(document, Document)]
    notices = _check_lengths(corpus, recipe.student.encoder, documents)
    if len(first) == _FIRST or _WITHOUT_CANDIDATES.issuperset(recipe.generate.methods):
        return notices
    return notices + _check_passages(recipe, source.where, documents)


def _check_passages(recipe: Recipe, where: str, documents: list[Document]) -> list[str]:
    """Count the passages of a small corpus, and say that it has fewer than candidates are asked for
    each query: all of them are candidates then.

    Raises:
        UserError: if it has one, which answers every query: there is no negative; or fewer than the
            recipe asks for, where that is not the default (which a printed recipe names, too).
    """
    count_tokens, most = open_token_count(recipe.corpus), recipe.corpus.max_tokens
    passages = {
        (document.title, text)
        for document in documents
        for text in split_text(document.text, most, count=count_tokens)
    }
    count, top_k = len(passages), recipe.relabel.top_k
    if count == 1:
        raise UserError(
            where,
            "holds one passage, which answers every query: there is none to tell it from",
            "give a larger corpus of texts that differ, or lower corpus.max_tokens",
        )
    if not 0 < count < top_k:
        return []
    if top_k != type(recipe.relabel).model_fields["top_k"].default:
        raise UserError(
            f"relabel.top_k {top_k}",
            f"asks for more candidates of a query than there are passages: {where} holds about "
            f"{count}",
            f"lower relabel.top_k to {max(2, count)}, or leave it out: every passage is then a "
            "candidate of every query; or give a larger corpus",
        )
    return [
        f"corpus: {where} holds about {count} passages, fewer than relabel.top_k ({top_k}, the "
        "default): every passage is a candidate of every query; give a larger corpus, or lower "
        "relabel.top_k"
    ]


def _check_lengths(corpus: Corpus, encoder: str, documents: list[Document]) -> list[str]:
    """Say that lengths are estimated as those of English, where the texts are in another
    language."""
    texts = [document.text for document in documents]
    if corpus.tokenizer is not None or not texts:
        return []
    by_language = count_languages(texts)
    if by_language["en"] >= by_language.total() / 2:
        return []
    language, _ = by_language.most_common(1)[0]
    return [
        f"corpus: the texts are not English (mostly {language}, by ISO 639-1), and lengths are "
        f"estimated as of English: passages of corpus.max_tokens ({corpus.max_tokens}) may be much "
        f"longer for the student (German by half), and are cut off; set corpus.tokenizer: {encoder}"
    ]


def _is_stored(recipe: Recipe) -> bool:
    """Return whether the corpus lies in an object store, from which a check reads nothing."""
    return recipe.corpus.path is not None and is_store_address(recipe.corpus.path)


def _check_packages(packages: list[str]) -> list[str]:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "corpus.packages",
            f"not installed: {', '.join(missing)}",
            "install them, or name other packages",
        )
    return []


def check_labelled(recipe: Recipe) -> list[str]:
    """Look whether the files of `generate.labelled` are there, and read the log of queries.

    Raises:
        UserError: naming the first that is not, or what is wrong with the log.
    """
    if "log" in recipe.generate.methods or recipe.holds_out_log:
        select_log_queries(LogSettings.select(recipe))
    if "labelled" in recipe.generate.methods:
        for labelled in recipe.generate.labelled:
            file = recipe.folder / parse_path(labelled.path)
            if not file.is_file():
                raise UserError(
                    str(file), f"no such file{describe_search(file)}", "fix generate.labelled"
                )
    return []


def check_document_vectors(recipe: Recipe) -> list[str]:
    """Look whether the file of `teacher.document_vectors` is there, with its ids.

    Raises:
        UserError: naming what is missing.
    """
    if recipe.teacher.document_vectors is not None:
        from distill.teacher.document_vectors import check_vector_files  # with it comes torch

        check_vector_files(parse_path(recipe.teacher.document_vectors))
    return []


def list_task_checks(recipe: Recipe) -> Iterator[Callable[[], list[str]]]:
    """List a check for each evaluation task that is a folder, and one for all others together."""
    evaluate = recipe.evaluate
    if not evaluate.names_tasks:
        is_open = recipe.corpus.held_out != 0 and is_elsewhere(recipe)
        yield lambda: [] if is_open else [NO_TASKS]
        return
    data = None if evaluate.task_data is None else parse_path(evaluate.task_data)
    named = [name for name in evaluate.tasks if name not in OWN_TASKS]
    if KNOWN_ITEM in evaluate.tasks:
        yield lambda: _check_known_items(recipe)
    folders = {name: data / name for name in named if data is not None and (data / name).is_dir()}
    for folder in folders.values():
        yield lambda folder=folder: _check_folder(folder)  # type: ignore[misc]
    others = [name for name in named if name not in folders]
    if others or evaluate.benchmarks:
        yield lambda: _check_others(recipe, others)


def _check_known_items(recipe: Recipe) -> list[str]:
    """Say what the task known-item is worth where it is the only one, and count the documents of a
    corpus that is small.

    Raises:
        UserError: if it has fewer documents than the task takes.
    """
    corpus = recipe.corpus
    is_here = corpus.path is not None and corpus.source != "dataset" and not _is_stored(recipe)
    if is_here and corpus.hold_out_by == "document":
        _require_items(corpus, open_source(corpus, recipe.seed))
    only = recipe.evaluate.tasks == [KNOWN_ITEM] and not recipe.evaluate.benchmarks
    return [_STAND_IN] if only else []


def _require_items(corpus: Corpus, source: CorpusSource) -> None:
    """Require of a small corpus, or one of which `corpus.limit` leaves little, that as many of its
    documents as the task takes are held out.

    Raises:
        UserError: if fewer are to be expected.
    """
    first = itertools.islice(source.read(), _MANY)
    documents = [one for one in first if isinstance(one, Document)]
    drawn = _expect_drawn_documents(corpus, documents)
    if drawn >= _MANY or drawn * corpus.held_out_share >= LEAST_ITEMS:
        return
    is_limited = drawn < len(documents)
    limited = f" that can be searched for in the {corpus.limit} passages of corpus.limit,"
    held_out = f"about {drawn * corpus.held_out_share:.0f} are held out"
    raise UserError(
        f"task {KNOWN_ITEM}",
        f"of {drawn} documents{limited if is_limited else ''} {held_out}, and it takes "
        f"{LEAST_ITEMS} that give a query",
        f"raise corpus.held_out, {'raise corpus.limit' if is_limited else 'give more documents'}, "
        "or take the task out of evaluate.tasks",
    )


def _expect_drawn_documents(corpus: Corpus, documents: list[Document]) -> int:
    """Return of how many of the first documents `corpus.limit` may be expected to leave passages
    that can be searched for. Of a corpus of more than these, each passage may be of another
    document."""
    if corpus.limit is None:
        return len(documents)
    if len(documents) == _MANY:
        return min(len(documents), corpus.limit)
    # Splitting takes longer than reading: some documents tell what all are like.
    some = documents[:: max(1, len(documents) // _FIRST)]
    pieces = [split_document(document, corpus.max_tokens) for document in some]
    scale = len(documents) / max(1, len(some))
    passages = scale * sum(map(len, pieces))
    if corpus.limit >= passages:
        return len(documents)
    share = corpus.limit / passages
    # A long document is likelier to keep a passage, and short ones are many.
    drawn = [1 - (1 - share) ** len(rows) for rows in pieces if rows and can_be_searched_for(rows)]
    return round(scale * sum(drawn))


def _check_folder(folder: Path) -> list[str]:
    """Check a folder of evaluation data.

    Raises:
        UserError: if the folder holds the files of no category of tasks, or an empty one.
    """
    layouts = [layout for layout in LAYOUTS.values() if layout.marks(folder)]
    if not layouts:
        known = "; ".join(layout.says for layout in LAYOUTS.values())
        raise UserError(str(folder), "holds the files of no kind of task", f"write one of: {known}")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open_bytes(file) as source:
            if not source.read(1):
                raise UserError(str(file), "is empty", "write the task's rows into it")
    return []


def _check_others(recipe: Recipe, names: list[str]) -> list[str]:
    """Read labelled files, and see that mteb knows all other names.

    Raises:
        UserError: if mteb is not installed, or a task is unknown or faulty.
    """
    need("mteb", "eval")
    from distill.tasks import open_recipe_tasks

    tasks = open_recipe_tasks(recipe.evaluate, recipe.own_corpus, recipe.seed, names)
    hub = [task.metadata.name for task in tasks if not task.data_loaded]
    return [f"evaluation: {', '.join(hub)}: read from the Hugging Face hub"] if hub else []
