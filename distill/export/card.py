"""The model card of an export: how it is used, what it was made from, what it is good for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.evaluate.summary import Summary, format_metric, read_current_summary
from distill.export.model_source import ExportSource
from distill.export.parity import Parity
from distill.export.provenance import (
    hub_id,
    ingredients,
    licence,
    licence_keys,
    short,
    training,
)
from distill.export.snippets import (
    max_tokens,
    with_onnxruntime,
    with_sentence_transformers,
    with_transformers,
)


@dataclass(frozen=True)
class ExportedFile:
    """An exported form of the model: its main file, how near it is, and what was done to it where
    that was a choice."""

    path: str
    bytes: int
    parity: Parity
    made: str = ""


@dataclass(frozen=True)
class ModelCard:
    """Everything that a card is written from. `name` is a hub id or the folder's name."""

    name: str
    on_hub: bool
    source: ExportSource
    model: SentenceTransformer
    files: Mapping[str, ExportedFile]

    def __str__(self) -> str:
        summary = _summary(self.source)
        sections = (
            _intro(self),
            _use(self),
            _prompts(self.model),
            _training(self.source),
            _licences(self.source),
            _scores(summary),
            _files(self.files),
            _limits(self),
        )
        body = "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)
        return f"---\n{_head(self, summary)}\n---\n\n{body}\n"


def _head(card: ModelCard, summary: Summary | None) -> str:
    recipe = card.source.recipe
    origin = recipe.student.encoder if recipe else card.source.reference
    stated = licence_keys(origin)
    results = list(_results(summary)) if summary else None
    data = ModelCardData(
        model_name=card.name.rpartition("/")[2],
        base_model=hub_id(origin),
        license=stated.get("license"),
        license_name=stated.get("license_name"),
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", "distill"],
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _results(summary: Summary) -> Iterator[EvalResult]:
    for task, score in summary["models"]["student"]["tasks"].items():
        of = summary["tasks"][task]
        yield EvalResult(
            task_type=of["category"],
            dataset_type=task,
            dataset_name=task,
            dataset_revision=of["revision"],
            metric_type=of["metric"],
            metric_value=score,
        )


def _intro(card: ModelCard) -> Iterator[str]:
    model = card.model
    parameters = sum(weight.numel() for weight in model.parameters())
    yield f"# {card.name}"
    yield ""
    made = "distilled from a corpus, an LLM and a large embedder with distill"
    yield (
        f"A sentence embedding model{f', {made}' if card.source.run else ''}: {parameters:,} "
        f"parameters, {model.get_embedding_dimension()} dimensions, texts of up to "
        f"{max_tokens(model)} tokens. Vectors have unit length; compare them by inner product."
    )


def _use(card: ModelCard) -> Iterator[str]:
    yield "## Use"
    snippets: dict[str, str | None] = {}
    if "sentence-transformers" in card.files:
        snippets["sentence-transformers"] = with_sentence_transformers(card.model, card.name)
        snippets["transformers alone"] = with_transformers(card.model, card.name, card.on_hub)
    graphs = [card.files[form].path for form in ("onnx", "int8") if form in card.files]
    if graphs:
        # Of int8 too, where both are there: only the file's name differs.
        graph = graphs[0]
        snippets["onnxruntime"] = with_onnxruntime(card.model, card.name, card.on_hub, graph)
    for title, code in snippets.items():
        yield f"\nWith {title}:\n"
        yield (
            f"```python\n{code}```" if code else "(Its modules are more than a few lines of code.)"
        )
    if graphs:
        yield (
            "\nThe graph takes token ids and gives vectors of unit length: transformer, pooling "
            "and projection are inside, the tokenizer is not; it is `tokenizer.json`."
        )
    if "int8" in card.files:
        yield (
            f"`{card.files['int8'].path}` is used alike. Its vectors depend a little on what else "
            "is in a batch, for activations are quantised by the batch: embed queries and "
            "documents with the same file."
        )


def _prompts(model: SentenceTransformer) -> Iterator[str]:
    yield "## Prompts\n"
    yield "What the model expects before a text; sentence-transformers puts it there by itself.\n"
    for side in ("query", "document"):
        prompt = model.prompts.get(side)
        yield f"- {side}: {f'`{_quoted(prompt)}`' if prompt else 'none'}"


def _quoted(prompt: str) -> str:
    """On one line, with its spaces and line ends to be seen."""
    return json.dumps(prompt, ensure_ascii=False)


def _training(source: ExportSource) -> Iterator[str]:
    yield "## Training data\n"
    if source.run is None or source.recipe is None:
        yield "Not known: the model was exported without the run that trained it."
        return
    for line in training(source.run, source.recipe):
        yield f"- {line}"


def _licences(source: ExportSource) -> Iterator[str]:
    yield "## Licences\n"
    yield "As stated by what it was made from; whether they allow your use is yours to check."
    yield "\n| | | licence |\n|---|---|---|"
    if source.recipe is None:
        yield f"| model | {short(source.reference)} | {licence(source.reference)} |"
        return
    for part in ingredients(source.recipe):
        yield f"| {part.role} | {part.name} | {part.licence} |"


def _summary(source: ExportSource) -> Summary | None:
    """None where the student as it stands was not evaluated, or by a distill whose figures are not
    known here."""
    try:
        return read_current_summary(source.run) if source.run else None
    except UserError:
        return None


def _scores(summary: Summary | None) -> Iterator[str]:
    yield "## Scores\n"
    if summary is None:
        yield "It was not evaluated."
        return
    roles = [role for role in ("base", "student", "teacher") if role in summary["models"]]
    yield f"With mteb {summary['mteb']}; the base is the student before training.\n"
    yield f"| task | metric | {' | '.join(roles)} |\n|---|---|{'---:|' * len(roles)}"
    for task, of in summary["tasks"].items():
        scores = [summary["models"][role]["tasks"].get(task) for role in roles]
        cells = " | ".join("-" if score is None else f"{score:.4f}" for score in scores)
        yield f"| {task} | {format_metric(of['metric'])} | {cells} |"
    if summary["kept"] is not None:
        yield f"\nIt keeps {summary['kept']:.1%} of its teacher's score."


def _files(files: Mapping[str, ExportedFile]) -> Iterator[str]:
    yield "## Files\n"
    yield "| form | file | MB | against the model that was exported |\n|---|---|---:|---|"
    for form, file in files.items():
        named = f"{form}: {file.made}" if file.made else form
        yield f"| {named} | `{file.path}` | {file.bytes / 1e6:.1f} | {file.parity} |"


def _limits(card: ModelCard) -> Iterator[str]:
    yield "## Intended use and limits\n"
    yield "- Meant for search and similarity over texts like its corpus, as one part of a system."
    yield f"- What lies beyond {max_tokens(card.model)} tokens of a text is not read."
    if card.source.run is not None:
        yield "- Other languages and fields than the corpus' were neither trained on nor measured."
        yield (
            "- Its queries were written by an LLM: what that LLM gets wrong or leaves out, the "
            "model learnt too. It has its encoder's and its teacher's biases."
        )
    yield "- A similarity is no probability, and none of a person's or a text's worth."
