"""The origin of the student: models with revisions and licences, stages with fingerprints,
seconds and tokens, versions of packages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from distill.errors import UserError
from distill.models.model_card import find_licence
from distill.recipe import Recipe
from distill.recipe.needs import list_llms
from distill.report import numbers
from distill.report.cells import Cell, Grid, make_cells
from distill.report.run_data import Manifest, RunData, put_before_first
from distill.store.integrity import order_counts

_MODELS = {
    "LLM": ("llm", "model"),
    "judging LLM": ("relabel.llm", "model"),
    "retriever": ("retriever", "model"),
    "encoder of the student": ("student", "encoder"),
    "teacher": ("teacher", "model"),
}
"""Where a recipe names its models."""
_NOT_STATED = "not stated"


@dataclass(frozen=True)
class Lineage:
    """The tables of the models and stages that a student was made from."""

    models: Grid | None
    stages: Grid
    seconds: str
    tokens: str
    versions: Grid
    figures: list[tuple[str, str, str]]
    recipe: str


def make_lineage(run_data: RunData) -> Lineage:
    """Return the section. A model's revision is the one that a stage has worked with."""
    stages = run_data.stages
    return Lineage(
        models=_tabulate_models(run_data),
        stages=_tabulate_stages(stages),
        seconds=numbers.format_seconds(sum(m["seconds"] for m in run_data.complete.values())),
        tokens=numbers.format_whole(sum(sum_tokens(m) or 0 for m in stages.values())),
        versions=_tabulate_versions(stages),
        figures=[*_list_figures(stages)],
        recipe=run_data.recipe_text,
    )


def sum_tokens(manifest: Manifest) -> int | None:
    """Sum the prompt and new tokens of a stage that asked an LLM."""
    counted = manifest.get("figures", {}).get("tokens")
    return counted["prompt"] + counted["new"] if counted else None


def _tabulate_models(run_data: RunData) -> Grid | None:
    revisions = {
        of[key]: of["revision"]
        for manifest in run_data.stages.values()
        for of in _walk_mappings(manifest["settings"])
        for key in ("model", "encoder")
        if isinstance(of.get(key), str) and isinstance(of.get("revision"), str)
    }
    evaluated = run_data.summary["models"] if run_data.summary else {}
    by_revision = {model["revision"]: model["licence"] for model in evaluated.values()}
    rows, asked = [], _list_llms(run_data.recipe)
    for label, (section, key) in _MODELS.items():
        if section.endswith("llm") and section not in asked:
            continue
        settings = _find_section(run_data.recipe, section)
        if reference := settings.get(key):
            revision = revisions.get(reference, "")
            licence = by_revision.get(revision) or _find_licence(settings, reference)
            rows.append(_make_model_row(label, reference.partition("#")[0], revision, licence))
    for role, model in evaluated.items():
        if not model["variant_of"]:
            label = f"{role}, as evaluated"
            licence = model["licence"] or _NOT_STATED
            rows.append(_make_model_row(label, model["model"], model["revision"] or "", licence))
    header = ["role", "model and revision", "licence"]
    return Grid("Models", header, rows) if rows else None


def _list_llms(recipe: Mapping[str, Any]) -> set[str]:
    """List the keys of the LLMs that the run had work for; of a recipe with keys that are not known
    here, the one that writes is taken to have had some."""
    try:
        return {*list_llms(Recipe.model_validate(recipe))}
    except ValidationError:
        return {"llm"}


def _find_section(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of a recipe, or one within it; an empty one where it is not there."""
    section: Mapping[str, Any] = recipe
    for part in name.split("."):
        section = section.get(part) or {}
    return section


def _find_licence(settings: Mapping[str, Any], reference: str) -> str:
    """Find the licence that the model's own files state, as the card of an export has it; of a
    model behind a server, or one that is not on this machine any more, none is known."""
    if settings.get("base_url"):
        return _NOT_STATED
    try:
        return find_licence(reference) or _NOT_STATED
    except (UserError, OSError):
        return _NOT_STATED


def _make_model_row(label: str, name: str, revision: str, licence: str) -> list[Cell]:
    return [Cell(label), Cell(name, note=revision), Cell(licence)]


def _walk_mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a stage's settings, and every mapping inside them."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _walk_mappings(inner)


def _tabulate_stages(stages: Mapping[str, Manifest]) -> Grid:
    header = ["stage", "rows", "seconds", "tokens", "fingerprint", "made from", "counted"]
    cells = []
    for name, manifest in stages.items():
        done, used, rows = manifest["complete"], sum_tokens(manifest), manifest.get("rows") or None
        counts = ", ".join(
            f"{what} {n:,}" for what, n in order_counts(manifest.get("counts", {})).items()
        )
        cells.append(
            [
                Cell(name, note="" if done else "not complete"),
                # A stage that makes a model, or a verdict, has none.
                Cell(numbers.format_whole(rows) if rows else "", rows),
                Cell(f"{manifest['seconds']:,.1f}" if done else "", manifest.get("seconds")),
                Cell("" if used is None else numbers.format_whole(used), used),
                *make_cells(manifest["fingerprint"], ", ".join(manifest["inputs"]), counts),
            ]
        )
    return Grid("Stages", header, cells, numeric=header[1:4])


def _tabulate_versions(stages: Mapping[str, Manifest]) -> Grid:
    by_package: dict[str, list[str]] = {}
    for manifest in stages.values():
        for package, version in manifest.get("versions", {}).items():
            if version not in by_package.setdefault(package, []):
                by_package[package].append(version)
    rows = [make_cells(package, " and ".join(versions)) for package, versions in by_package.items()]
    return Grid("Versions", ["package", "version"], rows)


_OF_RELABELLING = ("seed_rank", "kendall_tau", "scores", "recall_at_k", "k")
_IN_OTHER_SECTIONS = ("decontamination", "unlabelled", "tokens", *_OF_RELABELLING)


def _list_figures(stages: Mapping[str, Manifest]) -> Iterator[tuple[str, str, str]]:
    """Yield stage, name and value of the numbers that stages declare, one level deep."""
    for stage, manifest in stages.items():
        figures = manifest.get("figures", {})
        for key in put_before_first(figures):
            value = figures[key]
            if key in _IN_OTHER_SECTIONS:
                continue
            inner = value if isinstance(value, dict) else {"": value}
            for label, number in inner.items():
                if isinstance(number, int | float | str):
                    what = f"{key} {label}".strip().replace("_", " ")
                    yield stage, what, f"{number:.4f}" if isinstance(number, float) else f"{number}"
        for key, value in manifest.get("execution", {}).items():
            shown = ", ".join(value) if isinstance(value, list) else f"{value}"
            yield stage, f"execution {key}".replace("_", " "), shown
