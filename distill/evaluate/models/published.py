"""Reference results in mteb's format: a file of one task, or a folder of a model's or of many
models' as mteb's ResultCache and its public collection have them."""

import glob
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill.errors import UserError, need
from distill.evaluate.score import TaskScore
from distill.files.read import describe, expect, parse_json, read_json_file, read_text

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask


_READ_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What mteb's reader raises for JSON of another shape, depending on where it differs."""


class PublishedScores(NamedTuple):
    """A model's scores as others have published them. `mteb`: the versions that computed them; what
    the results do not say of the model is None."""

    model: str
    revision: str | None
    licence: str | None
    parameters: int | None
    dimensions: int | None
    mteb: str
    scores: list[TaskScore]


def read_published(
    places: Sequence[Path], tasks: "Sequence[AbsTask]", accept_versions: bool = False
) -> dict[str, PublishedScores]:
    """Read the results on `tasks` in the places, by the name of a row: the model's name, or with
    its revision where there are several.

    Metric, dataset revision, splits and languages must be those of the tasks. Another version of
    mteb may compute a metric otherwise: it is refused too, unless `accept_versions`, and told
    beside the scores then. A model may lack some of the tasks.

    Raises:
        UserError: for a place without results on a task, and for results of other data.
    """
    by_name = {task.metadata.name: task for task in tasks}
    published: dict[str, PublishedScores] = {}
    for place in places:
        for folder, files in _group_by_folder(place, list(by_name)).items():
            results = [(file, _read_result(file, list(by_name))) for file in files]
            scores = [
                _read_score(file, result, by_name[result.task_name], accept_versions)
                for file, result in results
            ]
            versions = sorted({str(result.mteb_version) for _, result in results})
            model = _describe_model(folder, ", ".join(versions), scores)
            name = (
                model.model if model.model not in published else f"{model.model}@{model.revision}"
            )
            if name in published:
                raise UserError(str(folder), f"{name} is there twice", "name one of its folders")
            published[name] = model
    return published


def _group_by_folder(place: Path, names: list[str]) -> dict[Path, list[Path]]:
    """Return the files on the tasks; results of one model lie in one folder. mteb's cache has them
    in `results`, among other files."""
    within = place / "results" if (place / "results").is_dir() else place
    files = (
        [place]
        if place.is_file()
        else [f for n in names for f in within.rglob(f"{glob.escape(n)}.json")]
    )
    if not files:
        raise UserError(
            str(place),
            f"holds no result on {' or '.join(names)}",
            "name a file of mteb's results, such as results/OWNER__MODEL/REVISION/TASK.json, or a "
            "folder above it",
        )
    by_folder: dict[Path, list[Path]] = {}
    for file in sorted(files):
        by_folder.setdefault(file.parent.resolve(), []).append(file)
    return by_folder


def _read_result(file: Path, names: list[str]) -> Any:
    """Read mteb's TaskResult, also from what earlier versions have written."""
    remedy = "name a result of mteb"
    text = read_text(file, remedy)
    try:
        # mteb writes NaN for what it could not measure: only the form is held to here.
        expect(parse_json(text, str(file), remedy, checked=False), dict, str(file), remedy)
    except UserError as fault:
        raise _refuse_format(file, fault.what) from fault
    try:
        result = need("mteb.results", "eval").TaskResult.from_disk(file)
    except _READ_ERRORS as fault:
        raise _refuse_format(file, str(fault)) from fault
    if result.task_name not in names:
        raise UserError(
            str(file),
            f"is of the task {result.task_name}, which is not compared",
            f"add {result.task_name} to --tasks, or leave the file out",
        )
    return result


def _refuse_format(file: Path, what: str) -> UserError:
    what = " ".join(what.split())[:200]
    return UserError(str(file), f"is no result in mteb's format ({what})", "name a result of mteb")


def _read_score(file: Path, result: Any, task: "AbsTask", accept_versions: bool) -> TaskScore:
    metadata, ours = task.metadata, need("mteb", "eval").__version__
    if result.dataset_revision != metadata.revision:
        raise UserError(
            str(file),
            f"is of {metadata.name} at revision {result.dataset_revision}; compared is "
            f"{metadata.revision}",
            "name results of the same data; an offline copy counts as other data than the hub's: "
            "leave it out of --task-data to compare with results on the hub's",
        )
    if result.mteb_version != ours and not accept_versions:
        raise UserError(
            str(file),
            f"was measured by mteb {result.mteb_version}; compared is by mteb {ours}",
            "--accept-versions compares them all the same, and says so in the table",
        )
    metric = metadata.main_score
    try:
        whole = result.validate_and_filter_scores(task)
        score = float(whole.get_score(getter=lambda scores: scores.get(metric, math.nan)))
    except _READ_ERRORS as fault:
        raise _refuse_format(file, str(fault)) from fault
    if not math.isfinite(score):
        raise UserError(
            str(file),
            f"has no {metric} of every split and language of {metadata.name}",
            "name a result on the whole task",
        )
    return TaskScore(metadata.name, metadata.type, metric, round(score, 6), {})


def _describe_model(folder: Path, versions: str, scores: list[TaskScore]) -> PublishedScores:
    """Describe the model by `model_meta.json`; without one by the names of the folders,
    OWNER__MODEL/REVISION, or of the folder alone."""
    path = folder / "model_meta.json"
    meta = _read_model_meta(path) if path.is_file() else _parse_folder_name(folder)
    experiment = f" {folder.name}" if folder.parent.name == "experiments" else ""
    return PublishedScores(
        model=f"{meta['name']}{experiment}",
        revision=_read_text(meta.get("revision")),
        licence=_read_text(meta.get("license")),
        parameters=_read_int(meta.get("n_parameters")),
        dimensions=_read_int(meta.get("embed_dim")),
        mteb=versions,
        scores=scores,
    )


def _read_model_meta(path: Path) -> dict[str, Any]:
    remedy = "fetch it again, or leave it out: the folder's name is then the model's"
    meta = expect(read_json_file(path, remedy), dict, str(path), remedy)
    if not isinstance(meta.get("name"), str):
        raise UserError(str(path), f"has no name but {describe(meta.get('name'))}", remedy)
    return meta


def _parse_folder_name(folder: Path) -> dict[str, Any]:
    owner, is_model, model = folder.parent.name.partition("__")
    if is_model:
        return {"name": f"{owner}/{model}", "revision": folder.name}
    return {"name": folder.name}


def _read_int(value: Any) -> int | None:
    """Return the number, if it is one: a model of several widths is published with a list of
    them."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_text(value: Any) -> str | None:
    return None if value is None else str(value)
