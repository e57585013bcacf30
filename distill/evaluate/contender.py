"""A model that enters the comparison: loaded, and named so that mteb's results load back."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from distill.errors import need
from distill.models import resolve, revision


@dataclass(frozen=True)
class Contender:
    """`shortened_to` is set where fewer tokens are read than the model itself would."""

    name: str
    reference: str
    revision: str
    folder: Path
    model: SentenceTransformer
    shortened_to: int | None = None

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def dimensions(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def bytes_on_disk(self) -> int:
        """The model's files; hidden ones are bookkeeping and not counted."""
        files = (p for p in self.folder.rglob("*") if p.is_file())
        return sum(
            p.stat().st_size
            for p in files
            if not any(part.startswith(".") for part in p.relative_to(self.folder).parts)
        )


def open_contender(
    reference: str | Path, max_tokens: int | None = None, device: str | None = None
) -> Contender:
    """Load a model by its reference. With `max_tokens` it reads no more of a text than that.

    Raises:
        UserError: if the reference does not resolve.
    """
    reference = str(reference)
    folder = resolve(reference)
    model = SentenceTransformer(str(folder), device=device, trust_remote_code=False)
    own = model.max_seq_length
    shortened = max_tokens is not None and (own is None or max_tokens < own)
    if shortened:
        model.max_seq_length = max_tokens
    return Contender(
        name=mteb_name(reference),
        reference=reference,
        revision=revision(reference),
        folder=folder,
        model=model,
        shortened_to=max_tokens if shortened else None,
    )


def mteb_name(reference: str) -> str:
    """A name of mteb's form owner/model: a hub id is its own; a folder `demo/student` is
    distill/demo-student; a model in a wheel is wheel/PACKAGE-FOLDER."""
    if reference.startswith("wheel:"):
        path = reference.removeprefix("wheel:").partition("#")[0].rstrip("/")
        return f"wheel/{path.partition('==')[0]}-{path.rpartition('/')[2]}"
    folder = Path(reference).expanduser()
    if folder.exists():
        folder = folder.resolve()
        return f"distill/{folder.parent.name}-{folder.name}"
    return reference.partition("@")[0]


def as_mteb_model(contender: Contender) -> Any:
    """mteb's own wrapper, which encodes queries and documents with the prompts that the model
    carries. A shortened model's results stand apart, as an mteb experiment `max_tokens`."""
    models = need("mteb.models", "eval")
    with warnings.catch_warnings():
        # mteb calls a method of sentence-transformers by its former name.
        warnings.simplefilter("ignore", FutureWarning)
        wrapper = models.SentenceTransformerEncoderWrapper(contender.model)
    shortened = contender.shortened_to
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(
        update={
            "name": contender.name,
            "revision": contender.revision,
            "n_parameters": contender.parameters,
            "max_tokens": contender.model.max_seq_length,
            "embed_dim": contender.dimensions,
            # What sentence-transformers notes here may be a path of the machine it was made on.
            "adapted_from": None,
            "experiment_kwargs": {"max_tokens": shortened} if shortened else None,
        }
    )
    return wrapper
