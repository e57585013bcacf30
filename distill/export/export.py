"""A run's student, or any sentence-transformers model, as files that others load."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from sentence_transformers import SentenceTransformer

from distill.corpus.held_out import OWN_TASKS
from distill.errors import UserError, need
from distill.evaluate.verdict import compare_with_base
from distill.export.card import ExportedFile, ModelCard, read_own_summary
from distill.export.graph import check_exportable, open_graph, write_graph
from distill.export.int8 import write_int8, write_openvino
from distill.export.model_source import ExportSource, load_source, open_source
from distill.export.parity import (
    TextsBySide,
    compare_vectors,
    refuse_float,
    refuse_int8,
    sample_texts,
)
from distill.export.query_side.sides import (
    has_two_sides,
    open_query_side,
    place_graph,
    select_texts,
)
from distill.export.query_side.static_int8 import FOLDER, find_static, write_static_int8
from distill.files.atomic import commit_bytes, open_atomic_folder
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Recipe
from distill.tasks import load_task, open_recipe_task

_LOG = logging.getLogger(__name__)

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

FORMS = ("sentence-transformers", "onnx", "int8")
"""Those that are written where none is named."""
ALL_FORMS = (*FORMS, "openvino")
GRAPHS = {
    "onnx": "onnx/embedding.onnx",
    "int8": "onnx/embedding_int8.onnx",
    "openvino": "openvino/embedding_int8.xml",
}
"""Not `model.onnx`, where sentence-transformers looks for a transformer alone."""


def export_model(
    reference: str,
    out: Path,
    forms: Sequence[str] = FORMS,
    task: str | None = None,
    task_data: Path | None = None,
    hub_name: str | None = None,
    force: bool = False,
) -> dict[str, ExportedFile]:
    """Write the model in these forms, with a model card, to the folder `out`. Of one that embeds
    queries and documents by two models, graphs hold the query side alone, in the folder `query`.

    Every form is loaded again and compared with the model itself, as `parity` says; where one is
    not like it, nothing at all is left in `out`.

    Args:
        reference: a run, or a model.
        task: the retrieval (or other) task of mteb, or folder of `task_data`, on which int8 and
            openvino may lose a hundredth; by default the run's first, where it has one.
        hub_name: the name that the card gives the model, where it is to be pushed.
        force: whether a student is exported whose run says that it is worse than its base.

    Raises:
        UserError: if there is no such model, `out` holds something, a library is missing, a form is
            not like the model, or the student is worse than its base.
    """
    _check_arguments(out, forms)
    source = open_source(reference)
    if source.run is not None and not force:
        refuse_worse_student(source.run, source.recipe)
    model = load_source(source)
    static = find_static(model)
    if static is not None and set(forms) == set(FORMS):
        forms = ["sentence-transformers", "int8"]
    graphs = set(forms) & GRAPHS.keys() - ({"int8"} if static else set())
    if graphs:
        check_exportable(open_query_side(model), source.reference)
    ranked = graphs & {"int8", "openvino"} and not has_two_sides(model)
    chosen_task = _choose_task(source, task, task_data) if ranked else None
    texts = select_texts(model, sample_texts(source))
    with write_beside(out) as part:
        files = {
            form: _write_form(form, model, part, texts, chosen_task)
            for form in ALL_FORMS
            if form in forms
        }
        if "sentence-transformers" not in forms and static is None and not has_two_sides(model):
            model.tokenizer.save_pretrained(part)
        name = hub_name or out.resolve().name
        card = ModelCard(name, hub_name is not None, source, model, files, out)
        commit_bytes(part / "README.md", card.render().encode())
    return files


def check_out(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UserError: if it does, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(str(out), "is there already", "name a folder that is not, or delete it")


def _check_arguments(out: Path, forms: Sequence[str]) -> None:
    check_out(out)
    unknown = [form for form in forms if form not in ALL_FORMS]
    if unknown or not forms:
        raise UserError(
            f"--format {','.join(forms)}",
            f"{unknown[0]!r} is no format" if unknown else "names no format",
            f"choose from {', '.join(ALL_FORMS)}",
        )
    if set(forms) & GRAPHS.keys():
        need("onnx", "export")
        need("onnxruntime", "export")
    if "openvino" in forms:
        need("openvino", "openvino")
        need("nncf", "openvino")


def refuse_worse_student(run: Path, recipe: Recipe | None) -> None:
    """Refuse to export a student that its run's evaluation finds worse than its base. A query
    encoder's base is no model for an index by itself: the teacher is. An evaluation by a version
    whose figures are not known here refuses nothing.

    Raises:
        UserError: for such a student.
    """
    summary = read_own_summary(run)
    base = compare_with_base(summary) if summary else None
    if base is None or base["kind"] != "worse":
        return
    instead = f"export the base instead ({run / 'base'})"
    if recipe is not None and recipe.student.route == "query":
        instead = f"embed queries with the teacher instead ({recipe.teacher.model})"
    verdicts = summary["verdict"].get("person_verdicts") if summary else None
    by_person = f" DCG@10 by {verdicts} verdicts of a person" if verdicts else ""
    raise UserError(
        str(run),
        f"its student is worse than its base model ({base['difference']:+.4f}{by_person}, 95 % "
        f"interval {base['low']:+.4f} to {base['high']:+.4f})",
        f"{instead}, or add --force to export the student",
    )


def _choose_task(
    source: ExportSource, name: str | None, task_data: Path | None
) -> "AbsTask | None":
    """Choose the named task, or else the run's first."""
    if name is not None:
        return load_task(name, task_data)
    recipe = source.recipe
    if source.run is None or recipe is None or not recipe.evaluate.tasks:
        return None
    first = recipe.evaluate.tasks[0]
    if first in OWN_TASKS:
        return load_task(first, source.run)
    return open_recipe_task(recipe.evaluate, recipe.own_corpus, recipe.seed, first)


def _write_form(
    form: str,
    model: SentenceTransformer,
    folder: Path,
    texts: TextsBySide,
    task: "AbsTask | None",
) -> ExportedFile:
    """Write one form into the folder and hold it against the model.

    Raises:
        UserError: if it is not like the model.
    """
    if form == "sentence-transformers":
        model.save_pretrained(str(folder), create_model_card=False)
        path = next(folder.glob("model.safetensors"), None) or min(
            folder.glob("query_*/model.safetensors")
        )
        other = load_sentence_model(folder, "cpu")
        parity = compare_vectors(model, other, texts)
        refuse_float(parity, form)
        return ExportedFile(str(path.relative_to(folder)), path.stat().st_size, parity)
    if form == "int8" and (static := find_static(model)) is not None:
        path, parity = write_static_int8(model, static, folder / FOLDER, texts["query"])
        refuse_int8(parity, form)
        size, place = path.stat().st_size, str(path.relative_to(folder))
        return ExportedFile(place, size, parity, "the query side alone, a scale for each token")
    path = place_graph(model, folder) / GRAPHS[form]
    path.parent.mkdir(exist_ok=True)
    variant = ""
    if has_two_sides(model):
        model, texts = open_query_side(model), {"query": texts["query"]}
    if form == "int8":
        chosen, parity = write_int8(model, path, texts, task)
        refuse_int8(parity, form)
        variant = str(chosen)
    elif form == "openvino":
        variant, parity = write_openvino(model, path, texts, task)
        refuse_int8(parity, form)
    else:
        write_graph(model, path)
        parity = compare_vectors(model, open_graph(path, model), texts)
        refuse_float(parity, form)
    size = path.stat().st_size + (
        path.with_suffix(".bin").stat().st_size if form == "openvino" else 0
    )
    return ExportedFile(str(path.relative_to(folder)), size, parity, variant)


@contextmanager
def write_beside(out: Path) -> Iterator[Path]:
    """Yield a folder to write to, which becomes `out` on success and is removed on failure.

    Raises:
        UserError: if another process is writing the same folder.
    """
    out = out.resolve()
    with _lock(out), open_atomic_folder(out) as beside:
        yield beside


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            str(out),
            "another process is writing it",
            "wait for it to end, or name another folder with --out",
        ) from None
    # The file stays: if it were deleted, a process that has it open and one that makes it again
    # could both hold the lock.
    try:
        yield
    finally:
        lock.release()
