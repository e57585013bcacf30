"""The model card of an export: how it is used, what it was made from, what it is good for. Its text
is `templates/card.md.jinja`."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from sentence_transformers import SentenceTransformer

from distill import __version__
from distill.errors import UserError
from distill.evaluate.run_summary import read_run_summary
from distill.evaluate.summary import (
    Summary,
    compute_share_of_teacher,
    format_metric,
    format_role,
    list_baselines,
)
from distill.export.markdown import render_markdown
from distill.export.model_source import ExportSource
from distill.export.parity import Parity
from distill.export.provenance import (
    NOT_STATED,
    Ingredient,
    build_licence_keys,
    describe_training,
    get_hub_id,
    list_ingredients,
    shorten_reference,
)
from distill.export.query_side.sides import FOLDER as QUERY_FOLDER
from distill.export.query_side.sides import has_documents_side, has_two_sides
from distill.export.query_side.static_int8 import FOLDER
from distill.export.snippets import (
    get_max_tokens,
    write_onnxruntime_snippet,
    write_openvino_snippet,
    write_sentence_transformers_snippet,
    write_transformers_snippet,
)
from distill.models.model_card import find_licence
from distill.recipe.needs import needs_llm
from distill.runtime.machine import format_machine
from distill.store.stage import open_stage

_CITATION = "The distill authors: *distill: small embedding models that know a corpus*"
"""As CITATION.cff has it, which is no part of the package."""
_OWN_ROLES = ("base", "student", "teacher")
_UNKNOWN_DATASET = "unknown"
"""What sentence-transformers calls data that is not on the hub."""


@dataclass(frozen=True)
class ExportedFile:
    """An exported form of the model: its main file, its parity with the model, and how it was
    quantised."""

    path: str
    bytes: int
    parity: Parity
    quantization: str = ""


@dataclass(frozen=True)
class ModelCard:
    """The content of a model card. `name` is a hub id or the folder's name; `folder` is where the
    card will lie."""

    name: str
    on_hub: bool
    source: ExportSource
    model: SentenceTransformer
    files: Mapping[str, ExportedFile]
    folder: Path

    def render(self) -> str:
        """Write the card as Markdown with a YAML head, as the hub reads it."""
        source, summary = self.source, read_own_summary(self.source.run)
        int8 = self.files["int8"].path if "int8" in self.files else None
        roles = _list_roles(summary)
        return render_markdown(
            "card.md.jinja",
            head=_write_head(self, summary),
            name=self.name,
            from_run=source.run is not None,
            has_llm=source.recipe is not None and needs_llm(source.recipe),
            parameters=sum(weight.numel() for weight in self.model.parameters()),
            dimensions=self.model.get_embedding_dimension(),
            max_tokens=get_max_tokens(self.model),
            snippets=_write_snippets(self),
            has_graph=bool(_list_graphs(self.files)) or "openvino" in self.files,
            int8_path=int8 if int8 in _list_graphs(self.files) else None,
            openvino_path=self.files["openvino"].path if "openvino" in self.files else None,
            two_sides=has_two_sides(self.model),
            query_folder=QUERY_FOLDER,
            documents_by=_name_documents_model(self),
            small_queries=FOLDER if int8 and int8.startswith(FOLDER) else None,
            prompts=_quote_prompts(self.model),
            training=_describe_training(source),
            ingredients=_list_ingredients(source),
            summary=summary,
            kept=_describe_retention(summary),
            machine=_describe_machine(source),
            roles=[role if role in _OWN_ROLES else format_role(role) for role in roles],
            report=_find_report(self),
            scores=_format_scores(summary, roles) if summary else [],
            files=self.files,
            citation=f"{_CITATION}, version {__version__}",
        )


def _write_head(card: ModelCard, summary: Summary | None) -> str:
    recipe = card.source.recipe
    origin = recipe.student.encoder if recipe else card.source.reference
    stated = build_licence_keys(origin)
    results = list(_list_results(summary)) if summary else None
    data = ModelCardData(
        model_name=card.name.rpartition("/")[2],
        base_model=get_hub_id(origin),
        license=stated.get("license"),
        license_name=stated.get("license_name"),
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", "distill"],
        datasets=_list_datasets(card.source),
        language=_list_languages(card.source),
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _list_datasets(source: ExportSource) -> list[str] | None:
    """List the corpus, where it is a dataset of the hub."""
    recipe = source.recipe
    if recipe is None or not recipe.has_corpus or recipe.corpus.dataset is None:
        return None
    return None if recipe.corpus.path is not None else [recipe.corpus.dataset]


def _list_languages(source: ExportSource) -> list[str] | None:
    """List the languages that the recipe accepts of generated queries, where it names any."""
    recipe = source.recipe
    return (recipe.generate.filters.languages or None) if recipe is not None else None


def _list_results(summary: Summary) -> Iterator[EvalResult]:
    for task, score in summary["models"]["student"]["tasks"].items():
        of = summary["tasks"][task]
        yield EvalResult(
            task_type=of["category"],
            dataset_type=of.get("dataset") or _UNKNOWN_DATASET,
            dataset_name=task,
            dataset_revision=of["revision"],
            metric_type=of["metric"],
            metric_value=score,
        )


def _write_snippets(card: ModelCard) -> dict[str, str | None]:
    """Write, by library, the code that uses the model; None if it would be too long."""
    snippets: dict[str, str | None] = {}
    if "sentence-transformers" in card.files:
        snippets["sentence-transformers"] = write_sentence_transformers_snippet(
            card.model, card.name
        )
        snippets["transformers alone"] = write_transformers_snippet(
            card.model, card.name, card.on_hub
        )
    graphs = _list_graphs(card.files)
    if graphs:
        # Of int8 too, where both are there: only the file's name differs.
        snippets["onnxruntime"] = write_onnxruntime_snippet(
            card.model, card.name, card.on_hub, graphs[0]
        )
    if "openvino" in card.files:
        snippets["OpenVINO"] = write_openvino_snippet(
            card.model, card.name, card.on_hub, card.files["openvino"].path
        )
    return snippets


def _name_documents_model(card: ModelCard) -> str:
    """Name the model that embeds documents, where it is not in the export; else empty."""
    if has_documents_side(card.model):
        return ""
    recipe = card.source.recipe
    return "another model" if recipe is None else f"`{recipe.teacher.model}`"


def _list_graphs(files: Mapping[str, ExportedFile]) -> list[str]:
    """List the paths of ONNX files, the float one first."""
    paths = [files[form].path for form in ("onnx", "int8") if form in files]
    return [path for path in paths if path.endswith(".onnx")]


def _quote_prompts(model: SentenceTransformer) -> dict[str, str]:
    """Quote the prompts by side, on one line, so that spaces and line ends show; empty if there is
    none."""
    prompts = {side: model.prompts.get(side) for side in ("query", "document")}
    return {
        side: json.dumps(prompt, ensure_ascii=False) if prompt else ""
        for side, prompt in prompts.items()
    }


def _describe_training(source: ExportSource) -> list[str]:
    if source.run is None or source.recipe is None:
        return []
    return list(describe_training(source.run, source.recipe))


def _list_ingredients(source: ExportSource) -> list[Ingredient]:
    """List what the model was made from; without a recipe, the model itself."""
    if source.recipe is not None:
        return list_ingredients(source.recipe)
    name = shorten_reference(source.reference)
    licence = find_licence(source.reference) or NOT_STATED
    return [Ingredient("model", name, licence)]


def read_own_summary(run: Path | None) -> Summary | None:
    """Read the student's evaluation; None if the student as it is was not evaluated, or by a
    version whose figures are not known here."""
    try:
        return read_run_summary(run) if run else None
    except UserError:
        return None


def _describe_retention(summary: Summary | None) -> str:
    """Describe the share of the teacher's score with its interval; empty without a teacher."""
    ratio = compute_share_of_teacher(summary) if summary is not None else None
    if summary is None or ratio is None:
        return ""
    share = f"It keeps {ratio:.1%} of its teacher's score"
    retention = summary.get("retention")
    if retention is None:
        return f"{share}; without values of single items there is no interval."
    return (
        f"{share} (95 % interval {retention['low']:.1%} to {retention['high']:.1%}, over "
        f"{retention['items']:,} items)."
    )


def _describe_machine(source: ExportSource) -> str:
    """Describe the machine that trained the student, and for how long; empty where that is not
    known."""
    if source.run is None or not (source.run / "student" / ".stage").is_dir():
        return ""
    student = open_stage(source.run / "student").manifest
    if "machine" not in student:
        return ""
    return f"Trained in {student['seconds'] / 60:,.0f} min on {format_machine(student['machine'])}."


def _list_roles(summary: Summary | None) -> list[str]:
    """List the models with a column of scores: the run's own, BM25 and the hybrids."""
    if summary is None:
        return []
    own = [role for role in _OWN_ROLES if role in summary["models"]]
    return own + list_baselines(summary["models"])


def _find_report(card: ModelCard) -> str | None:
    """Find the run's report, relative to the card's folder; None unless that is in the run's own.
    A card that lies elsewhere may be published. It should name no folders of this machine, and a
    report shows texts of the corpus."""
    run, folder = card.source.run, card.folder.resolve()
    if run is None or card.on_hub or not (run / "report.html").is_file():
        return None
    if not folder.is_relative_to(run.resolve()):
        return None
    return os.path.relpath(run.resolve() / "report.html", folder)


def _format_scores(summary: Summary, roles: list[str]) -> Iterator[list[str]]:
    """Format a row for each task: its name, its metric, and each role's score."""
    for task, figures in summary["tasks"].items():
        scores = [summary["models"][role]["tasks"].get(task) for role in roles]
        cells = ["-" if score is None else f"{score:.4f}" for score in scores]
        yield [task, format_metric(figures["metric"]), *cells]
