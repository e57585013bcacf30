"""Inspect, report, export and search a run that exists already."""

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from distill.api.objects import register_encoder
from distill.files.read import parse_path

if TYPE_CHECKING:
    from rich.console import Console

    from distill.embed.encoder import Encoder
    from distill.export.card import ExportedFile
    from distill.inspect.doctor import Check
    from distill.inspect.search import SearchResults

RunOrPath = str | PathLike[str]
"""A `RunFolder`, or the path of a run."""
FORMATS = ("sentence-transformers", "onnx", "int8")


class ExportResult(NamedTuple):
    """An exported folder: the file of each format with how like the model it is, and the address
    of the commit on the hub, where it was uploaded."""

    folder: Path
    files: "dict[str, ExportedFile]"
    commit: str | None


def report(run: RunOrPath, out: str | Path | None = None) -> Path:
    """Render a run's results as one HTML page that needs no network, and return its path.

    >>> report("runs/mine")
    PosixPath('runs/mine/report.html')

    Args:
        out: where the page goes; by default `report.html` in the run's folder.

    Raises:
        UserError: if the folder holds no run, or matplotlib is not installed.
    """
    from distill.report.html import write_html

    return write_html(parse_path(fspath(run)), None if out is None else parse_path(fspath(out)))


def export(
    model: RunOrPath,
    out: str | Path,
    formats: Sequence[str] = FORMATS,
    *,
    task: str | None = None,
    task_data: str | Path | None = None,
    push_to: str | None = None,
    force: bool = False,
) -> ExportResult:
    """Write a run's student, or another model, as files that other programs load, with a model
    card. Each format is loaded again and compared with the model before anything is left there.

    >>> exported = export("runs/mine", "exports/mine", ["sentence-transformers"], force=True)

    Args:
        model: a run, a folder or a hub id.
        out: the folder to write; it must not exist, or be empty.
        formats: any of `sentence-transformers`, `onnx`, `int8` and `openvino`.
        task: the task on which int8 and openvino may lose at most a hundredth; by default the run's
            first.
        task_data: a folder of offline data, one sub-folder a task.
        push_to: `OWNER/NAME` of a repository of the hub, to which the folder is uploaded with the
            token in HF_TOKEN; a new repository is private.
        force: whether a student is exported whose run says that it is worse than its base.

    Raises:
        UserError: if there is no such model, `out` holds something, a library is missing, a
            format is not like the model, the student is worse than its base, or the hub refuses
            the upload.
    """
    from distill.export.export import export_model
    from distill.export.hub import check_push, push

    if push_to is not None:
        check_push(push_to)
    place, data = (
        parse_path(fspath(out)),
        None if task_data is None else parse_path(fspath(task_data)),
    )
    files = export_model(fspath(model), place, list(formats), task, data, push_to, force)
    return ExportResult(place, files, None if push_to is None else push(place, push_to))


def export_index(
    run: RunOrPath,
    out: str | Path,
    dtype: Literal["float32", "float16"] = "float32",
    *,
    force: bool = False,
) -> Path:
    """Write a folder that searches a run's passages without distill: query encoder, vectors, BM25
    index, texts, and a README with ten lines of Python. It ranks as `search(..., hybrid=True)`.

    >>> export_index("runs/mine", "exports/index", "float16")  # doctest: +SKIP
    PosixPath('exports/index')

    Args:
        out: the folder to write; it must not exist, or be empty.
        dtype: of the vectors; float16 is half as large, and may order near-ties in another way.
        force: whether a student is exported that is worse than its base, or was trained on other
            passages or another teacher than the run has now.

    Raises:
        UserError: if it is no run with passages and a student, they do not belong together, the
            vectors of a query encoder's passages are missing, or `out` holds something.
    """
    from distill.export.search_index import export_index

    place = parse_path(fspath(out))
    export_index(fspath(run), place, dtype, force)
    return place


def export_judge(run: RunOrPath, out: str | Path) -> Path:
    """Write the reranker that a run has trained (`train_judge`) as a folder that
    sentence-transformers loads as a CrossEncoder, with a card that says what it is worth.

    >>> export_judge("runs/mine", "exports/reranker")  # doctest: +SKIP
    PosixPath('exports/reranker')

    Args:
        out: the folder to write; it must not exist, or be empty.

    Raises:
        UserError: if the run has no judge, it is damaged, or `out` holds something.
    """
    from distill.api.session import load_recipe
    from distill.export.judge.export import export_judge as write_judge

    folder = parse_path(fspath(run))
    max_tokens = load_recipe(folder=folder).judge.max_tokens
    return write_judge(folder, parse_path(fspath(out)), max_tokens)


def search(
    run: RunOrPath,
    query: str,
    k: int = 5,
    *,
    hybrid: bool = False,
    teacher: "Encoder | None" = None,
) -> "SearchResults":
    """Search a run's corpus with its student, and with its teacher where the recipe names one.

    >>> results = search("runs/mine", "how do swifts sleep", k=3)
    >>> len(results.hits["student"]), sorted(results.hits["student"][0].passage)
    (3, ['passage_id', 'source', 'text', 'title'])

    Args:
        k: how many passages of each model.
        hybrid: whether each model is fused with BM25 (`student + bm25`), as evaluation does it.
        teacher: the object that replaced the recipe's teacher, if this program did
            not pass it before.

    Raises:
        UserError: if the folder is no run, or it has no passages or no student yet.
    """
    from distill.inspect.search import search_run

    if teacher is not None:
        register_encoder(teacher)
    return search_run(parse_path(fspath(run)), query, k, hybrid)


def search_each(
    run: RunOrPath, queries: Iterable[str], k: int = 5, *, hybrid: bool = False
) -> "Iterator[SearchResults]":
    """Search a run's corpus for one query after the other, as `search` does, with models that are
    loaded once. A query is taken when the results of the one before have been used.

    >>> for results in search_each("runs/mine", open("queries.txt")):  # doctest: +SKIP
    ...     print(results.hits["student"][0].passage["title"])

    Args:
        k: how many passages of each model.
        hybrid: whether each model is fused with BM25 (`student + bm25`), as evaluation does it.

    Raises:
        UserError: if the folder is no run, or it has no passages or no student yet; if a query is
            empty.
    """
    from distill.inspect.search import search_each as search_run_for_each

    return search_run_for_each(parse_path(fspath(run)), queries, k, hybrid)


def inspect(
    run: RunOrPath,
    table: str | None = None,
    *,
    query: str | None = None,
    rows: int = 3,
    skip: int = 0,
    console: "Console | None" = None,
) -> None:
    """Print a run's stages, some rows of a table, or one query with all its candidates.

    >>> inspect("runs/mine", "queries/dropped", rows=1)  # doctest: +ELLIPSIS
    ╭─ dropped by queries ─...

    Args:
        table: the name of a table; `queries/dropped` is what a stage left out.
        query: the id of a query.
        rows: how many rows of the table.
        skip: how many rows are passed over first.

    Raises:
        UserError: if the run has no such table or query.
    """
    from rich.console import Console

    from distill.inspect.tables import show_query, show_rows, show_run

    folder, console = parse_path(fspath(run)), console or Console()
    if query is not None:
        show_query(folder, query, console)
    elif table is not None:
        show_rows(folder, table, rows, skip, console)
    else:
        show_run(folder, console)


def doctor() -> "list[Check]":
    """Check what is installed, and which engines and devices can be used; load no model.

    >>> [check.name for check in doctor() if check.state == "missing"]  # doctest: +SKIP
    """
    from distill.inspect.doctor import run_checks as check_all

    return check_all()
