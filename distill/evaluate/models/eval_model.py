"""A model that enters the comparison: loaded, and named so that mteb's results load back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from distill.embed.encoder import Embedder, Encoder, Vectors
from distill.embed.local import LocalEmbedder
from distill.embed.open_embedder import check_served
from distill.embed.open_model import OpenModel, open_model
from distill.embed.published import NOTHING_PUBLISHED
from distill.embed.vectors.vector_cache import Digests
from distill.embed.wording import choose_prompts
from distill.evaluate.models.prompts import EvalPrompts, build_prompts, fix_task
from distill.evaluate.models.quantize import VectorFormat
from distill.files.read import parse_path
from distill.models.model_card import read_licence
from distill.models.sentence_transformer import get_query_modules
from distill.models.sources.in_memory import find_object, is_object
from distill.recipe import ALL_TOKENS, EmbedderConfig
from distill.recipe.sections.embedder import PLAIN_QUERY
from distill.store.stage import fingerprint
from distill.text.format import Side

_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_COPY_FOLDERS = ("onnx", "openvino", "original")
"""Folders in which repositories keep the same weights in other formats."""


class KnownVectors(Protocol):
    """Vectors of one model that were computed before."""

    def find(
        self, digests: Digests, prompt: str, side: Side | None
    ) -> tuple[NDArray[np.int64], Vectors]:
        """Find the places of texts that are known, by their digests, and their vectors."""
        ...


@dataclass(frozen=True)
class EvalModel:
    """A model that is evaluated. `folder` and `model` are None where a server embeds.
    `shortened_to` is set where fewer tokens are read than the model itself would; `departures` say
    what else computes other vectors than its files do by themselves. `fields` are those of requests
    to a server, as JSON, that change its vectors. `documents` is the model that embeds the
    documents, if that is another one. `graph` is the exported file that computes instead of the
    folder's weights. `known` are vectors of documents that are there already."""

    name: str
    reference: str
    revision: str
    folder: Path | None
    model: SentenceTransformer | None
    embedder: Embedder
    prompts: EvalPrompts
    max_tokens: int | None
    shortened_to: int | None = None
    licence: str | None = None
    departures: Mapping[str, str | int] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    form: VectorFormat = field(default_factory=VectorFormat)
    documents: "EvalModel | None" = None
    known: "KnownVectors | None" = None
    graph: Path | None = None

    @property
    def parameters(self) -> int | None:
        """Number of weights; of a query encoder over another model's documents, its own alone. None
        where a server keeps them."""
        if self.model is None:
            return None
        modules = get_query_modules(self.model) if self.documents is not None else self.model
        return sum(weight.numel() for weight in modules.parameters())

    @property
    def dimensions(self) -> int:
        """The length of a vector, truncated if the form says so."""
        return self.form.width or self.embedder.dimensions

    @property
    def bytes_per_vector(self) -> int:
        """In an index, as the model's form stores it."""
        return self.form.count_bytes(self.dimensions)

    @property
    def bytes_on_disk(self) -> int | None:
        """The files that are loaded: no bookkeeping, which is hidden, and no copy of the weights
        in another format. None where there are none here."""
        if self.folder is None:
            return None
        if self.graph is not None:
            return sum(
                path.stat().st_size for path in self.graph.parent.glob(f"{self.graph.stem}.*")
            )
        files = (p for kind in _MODEL_FILES for p in self.folder.rglob(kind) if p.is_file())
        inside = ((p, p.relative_to(self.folder)) for p in files)
        one_side = self.documents is not None
        return sum(
            path.stat().st_size
            for path, name in inside
            if _is_model_file(name) and not (one_side and _is_document_file(name))
        )

    @property
    def experiment(self) -> dict[str, str | int]:
        """What departs from the model's own settings, under mteb's names where it has some."""
        other = self.documents
        departs: dict[str, str | int | None] = {
            "max_tokens": self.shortened_to,
            "fields": _hash_settings(self.fields),
            "prompts": self.prompts.mark,
            "embed_dim": self.form.width,
            "output_dtypes": None if self.form.precision == "float32" else self.form.precision,
            "documents": f"{other.name}@{other.revision[:12]}" if other else None,
            "documents_max_tokens": other.shortened_to if other else None,
            "documents_prompts": other.prompts.mark if other else None,
            "documents_setup": _hash_settings({**other.departures, **other.fields})
            if other
            else None,
        }
        set_so = {key: value for key, value in departs.items() if value is not None}
        return {**self.departures, **set_so}

    def encode(self, texts: Sequence[str], side: Side) -> Vectors:
        """Embed texts under the side's own prompt: (texts, dimensions)."""
        return self.embedder.embed(texts, self.prompts.get_prompt(side), side)


def _hash_settings(settings: Mapping[str, str | int]) -> str | None:
    """Hash settings, short enough for a folder's name; None of no settings."""
    return fingerprint("setup", settings, {})[:8] if settings else None


def _is_model_file(path: Path) -> bool:
    return path.parts[0] not in _COPY_FOLDERS and not any(
        part.startswith(".") for part in path.parts
    )


def _is_document_file(path: Path) -> bool:
    """Return whether a file belongs to the documents' route of a sentence-transformers Router."""
    return any(part.startswith("document_") for part in path.parts[:-1])


def load_eval_model(
    reference: str | Path,
    max_tokens: int | None = None,
    device: str | None = None,
    settings: EmbedderConfig | None = None,
    instructions: bool = True,
) -> EvalModel:
    """Load a model by its reference.

    Args:
        max_tokens: it reads no more of a text than that; None: all it can.
        settings: all of an embedder's; None: the two before.
        instructions: whether a model that was trained or published with them is told each task.

    Raises:
        UserError: if the reference does not resolve, or the model does not do as it was published
            to.
    """
    settings = settings or EmbedderConfig(max_tokens=max_tokens or ALL_TOKENS, device=device)
    return wrap_model(open_model(str(reference), settings), settings, instructions)


def wrap_model(
    opened: OpenModel, settings: EmbedderConfig, instructions: bool, graph: Path | None = None
) -> EvalModel:
    """Wrap a model that is open, under the name of its reference.

    Args:
        graph: the exported file that it computes with.
    """
    whole, read = opened.all_tokens, opened.max_tokens
    return EvalModel(
        name=make_mteb_name(opened.reference),
        reference=opened.reference,
        revision=opened.revision,
        folder=opened.folder,
        model=opened.model,
        embedder=LocalEmbedder(opened, settings.batch_tokens),
        prompts=build_prompts(opened, settings, instructions),
        max_tokens=read,
        shortened_to=read if read != whole else None,
        licence=read_licence(opened.folder),
        departures=opened.departures,
        graph=graph,
    )


def load_served_model(settings: EmbedderConfig, model: str, instructions: bool = True) -> EvalModel:
    """Load a model that an OpenAI-compatible server embeds with, under its name there. How it is
    asked is no part of that name, so all of it makes results of their own.

    Raises:
        UserError: if the server cannot be asked, or the settings are none of a served model.
    """
    from distill.embed.endpoint.embedder import EndpointEmbedder  # imports httpx

    check_served(settings)
    named = {"query": settings.query_prompt, "document": settings.document_prompt}
    wording = choose_prompts(settings, model, {}, NOTHING_PUBLISHED)
    set_apart = any(named.values()) or settings.query_template != PLAIN_QUERY
    if not instructions:
        wording = fix_task(wording, None)
    return EvalModel(
        name=model if "/" in model else f"served/{model}",
        reference=model,
        revision="served",
        folder=None,
        model=None,
        embedder=EndpointEmbedder(settings, model),
        prompts=EvalPrompts(named, wording=wording, own=not set_apart),
        max_tokens=settings.max_tokens,
        shortened_to=settings.max_tokens,
        fields=settings.fields_identity,
    )


def load_object_model(reference: str, instructions: bool = True) -> EvalModel:
    """Wrap an object of the program, a `distill.embed.Encoder`, under the name in its reference."""
    encoder: Encoder = find_object(reference)
    name, _, digest = reference.partition(":")[2].rpartition("-")
    wording = encoder.wording if instructions else fix_task(encoder.wording, None)
    return EvalModel(
        name=f"object/{name}",
        reference=reference,
        revision=digest,
        folder=None,
        model=None,
        embedder=encoder.embedder,
        prompts=EvalPrompts(wording=wording),
        max_tokens=None,
    )


def load_any_model(settings: EmbedderConfig, model: str, instructions: bool = True) -> EvalModel:
    """Load a model in this process, the server's where the settings name one, or an object of the
    program where the reference stands for one."""
    if is_object(model):
        return load_object_model(model, instructions)
    if settings.base_url is not None:
        return load_served_model(settings, model, instructions)
    return load_eval_model(model, settings=settings, instructions=instructions)


def make_mteb_name(reference: str) -> str:
    """Make a name of mteb's form owner/model: a hub id is its own; a folder `demo/student` is
    distill/demo-student; a model in a wheel, which may hold several, is wheel/PACKAGE-PATH. Of an
    exported file, `exports/mine/onnx/embedding.onnx`, it is distill/mine-onnx-embedding."""
    if reference.startswith("wheel:"):
        path = reference.removeprefix("wheel:").partition("#")[0].rstrip("/")
        package, _, within = path.partition("==")
        return f"wheel/{package}-{within.partition('/')[2].replace('/', '-')}"
    folder = parse_path(reference)
    if folder.exists():
        folder = folder.resolve()
        if folder.is_file():
            return f"distill/{folder.parents[1].name}-{folder.parent.name}-{folder.stem}"
        return f"distill/{folder.parent.name}-{folder.name}"
    return reference.partition("@")[0]
