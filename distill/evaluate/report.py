"""A run's report: the verdict, its table, what each stage did, with which models and versions."""

from graphlib import TopologicalSorter
from pathlib import Path

import yaml

from distill.errors import UserError
from distill.evaluate.markdown import table
from distill.evaluate.render import BY_TASK, by_task, columns, notes, rows, scores
from distill.evaluate.report_relabelling import TOLD_HERE, Manifest, relabelling
from distill.evaluate.summary import Summary, read_summary, role_label
from distill.evaluate.verdict import sentence
from distill.run import open_stage
from distill.tables import commit_bytes

_MODELS = {
    "LLM": ("llm", "model"),
    "retriever": ("retriever", "model"),
    "encoder of the student": ("student", "encoder"),
    "teacher": ("teacher", "model"),
}
"""Where a recipe names its models."""

_FUNNEL = ("passages", "generations", "parsed", "queries", "examples")
_DROPPED = "dropped"
_DECONTAMINATION = "decontamination"


def write_report(run_folder: Path) -> Path:
    """Write `report.md` in the run's folder from what stands there, and return its path.

    What is not there is left out: a run without an evaluation gives a report of its stages.

    Raises:
        UserError: if the folder holds no stage of a run.
    """
    stages = _in_order(_manifests(run_folder))
    if not stages:
        raise UserError(str(run_folder), "holds no stage of a run", "name a run's folder")
    summary_path = run_folder / "summary.json"
    summary = read_summary(summary_path) if summary_path.is_file() else None
    parts = [
        f"# Report on {run_folder.resolve().name}",
        *_verdict(summary),
        *_funnel(stages),
        *_decontamination(stages),
        *relabelling(run_folder, stages),
        "## Stages",
        _stage_table(stages),
        *_figures(stages),
        "## Models and versions",
        *_models(run_folder, summary),
        _versions(stages),
    ]
    path = run_folder / "report.md"
    commit_bytes(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def _manifests(run_folder: Path) -> dict[str, Manifest]:
    found = sorted(run_folder.glob("*/.stage/manifest.json"))
    folders = [path.parent.parent for path in found]
    # A folder being made anew is hidden until it stands.
    return {f.name: open_stage(f).manifest for f in folders if not f.name.startswith(".")}


def _in_order(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """Each stage after its inputs."""
    order = TopologicalSorter(
        {name: sorted(m["inputs"].keys() & manifests.keys()) for name, m in manifests.items()}
    ).static_order()
    return {name: manifests[name] for name in order}


def _verdict(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["Not evaluated yet."]
    parts = [sentence(summary), table(columns(summary), rows(summary)), table(*scores(summary))]
    for role, model in summary["models"].items():
        if role != "student" and model["variant_of"] is None:
            parts += [
                f"Student - {role_label(role)}:",
                table(BY_TASK, by_task(summary, role)),
            ]
    return [*parts, *notes(summary)]


def _stage_table(stages: dict[str, Manifest]) -> str:
    cells = []
    for name, manifest in stages.items():
        counts = ", ".join(f"{reason} {n}" for reason, n in manifest.get("counts", {}).items())
        done = manifest["complete"]
        seconds = f"{manifest['seconds']:.1f}" if done else "not complete"
        cells.append([name, str(manifest["rows"]) if done else "", seconds, counts])
    return table(["stage", "rows", "seconds", "counted, left out"], cells)


def _funnel(stages: dict[str, Manifest]) -> list[str]:
    """From passages to examples: what is left at each step, and why the rest is not."""
    if not any(name in stages for name in _FUNNEL[1:]):
        return []
    cells = []
    for name in _FUNNEL:
        manifest = stages.get(name, {"complete": False})
        if not manifest["complete"]:
            continue
        # A further positive of a query is a row that came of no row before.
        rows = manifest["rows"] - manifest["counts"].get("additional positives", 0)
        dropped = _dropped(manifest)
        share = f"{rows / (rows + sum(dropped.values())):.1%}" if dropped else ""
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items())
        cells.append([name, str(manifest["rows"]), share, reasons])
    return ["## From passages to examples", table(["table", "rows", "kept", "dropped"], cells)]


def _dropped(manifest: Manifest) -> dict[str, int]:
    """By reason, the most frequent first."""
    counts = [
        (key.removeprefix(_DROPPED).strip(": "), count)
        for key, count in manifest["counts"].items()
        if key.startswith(_DROPPED) and count
    ]
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))


_GENERATED = {
    "queries": "Generated queries and their seed passages",
    "examples-brainstorm": "Brainstormed examples",
    "examples-labelled": "Examples of labelled sets",
}


def _decontamination(stages: dict[str, Manifest]) -> list[str]:
    """What the overlap of what was generated with evaluation sets came to, source by source."""
    made = {name: m for name, m in stages.items() if name in _GENERATED and m["complete"]}
    told = [_overlap(_GENERATED[name], manifest) for name, manifest in made.items()]
    return ["## Decontamination", *told] if told else []


def _overlap(what: str, manifest: Manifest) -> str:
    found = manifest.get("figures", {}).get(_DECONTAMINATION)
    if found is None:
        return f"{what} were not checked against any evaluation set."
    told = (
        f"{what} were checked against {found['evaluation queries']} evaluation queries of "
        f"{found['tasks']}, by runs of {found['run of words']} words (shorter ones whole, "
        f"{found['evaluation queries too short to check']} too short to check): "
        f"{found['queries dropped']} dropped."
    )
    if "seed passages" not in found:
        return told
    return told + (
        f" Of {found['seed passages']} seed passages "
        f"{found['seed passages that hold an evaluation query']} hold words of an evaluation "
        f"query; {found['seed passages that share words with an evaluation document']} share "
        "words with an evaluation document, which is told and not held against them."
    )


def _figures(stages: dict[str, Manifest]) -> list[str]:
    """The numbers that stages declare, one level deep."""
    lines = []
    for name, manifest in stages.items():
        for key, value in manifest.get("figures", {}).items():
            if key in (_DECONTAMINATION, *TOLD_HERE):
                continue
            inner = value if isinstance(value, dict) else {"": value}
            for label, number in inner.items():
                if isinstance(number, int | float | str):
                    what = f"{key} {label}".strip().replace("_", " ")
                    lines.append(f"- {name}: {what} {_number(number)}")
    return ["## Figures", "\n".join(lines)] if lines else []


def _models(run_folder: Path, summary: Summary | None) -> list[str]:
    recipe_path = run_folder / "recipe.yaml"
    recipe = yaml.safe_load(recipe_path.read_text("utf-8")) if recipe_path.is_file() else {}
    lines = []
    for label, (section, key) in _MODELS.items():
        reference = (recipe.get(section) or {}).get(key)
        if reference:
            lines.append(f"- {label}: `{reference}`")
    evaluated = {} if summary is None else summary["models"]
    for role, figures in evaluated.items():
        lines.append(f"- {role}, as evaluated: `{figures['model']}` at `{figures['revision']}`")
    return ["\n".join(lines)] if lines else []


def _versions(stages: dict[str, Manifest]) -> str:
    found: dict[str, list[str]] = {}
    for manifest in stages.values():
        for package, version in manifest.get("versions", {}).items():
            if version not in found.setdefault(package, []):
                found[package].append(version)
    return ", ".join(f"{package} {' and '.join(v)}" for package, v in found.items())


def _number(value: float | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
