"""A model as mteb asks it: an object of mteb's EncoderProtocol that encodes each text once,
keeps the vectors on disk, and gives them in the model's form."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from sentence_transformers import SentenceTransformer
from torch import Tensor

from distill.embed.encoder import Vectors, embed_split
from distill.embed.vectors.vector_cache import Digests, VectorCache, hash_texts
from distill.embed.vectors.vector_store import CHUNK
from distill.errors import need
from distill.evaluate.models.eval_model import EvalModel
from distill.evaluate.models.prompts import EvalPrompts
from distill.evaluate.models.quantize import Quantizer
from distill.models.sentence_transformer import find_text_transformer
from distill.runtime.progress import Progress
from distill.text.format import Side

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta
    from mteb.types import PromptType


class CachedEmbeddings:
    """A model's vectors as its model gives them, from the cache under `folder` or computed
    into it a block at a time, so that a killed evaluation goes on at its block. Without a folder
    nothing is kept."""

    def __init__(self, model: EvalModel, folder: Path | None) -> None:
        self.model = model
        self._folder = folder
        self._caches: dict[tuple[str, Side | None], VectorCache] = {}

    def embed(self, batches: Iterable[list[str]], prompt: str, side: Side | None) -> Vectors:
        """Return the texts' vectors in their order, (texts, dimensions)."""
        if self._folder is None:
            parts = [self._embed(block, prompt, side) for block in _split_into_blocks(batches)]
            empty = np.empty((0, self.model.embedder.dimensions), np.float32)
            return np.concatenate([empty, *parts])
        cache = self._open_cache(self._folder, prompt, side)
        digests = [np.empty(0, np.uint64)]
        for block in _split_into_blocks(batches):
            digests.append(hash_texts(block))
            absent = cache.find_absent(digests[-1])
            if len(absent):
                texts = [block[i] for i in absent]
                computed = self._compute(texts, digests[-1][absent], prompt, side)
                cache.add(digests[-1][absent], computed)
        return cache.take(np.concatenate(digests))

    def _compute(
        self, texts: Sequence[str], digests: Digests, prompt: str, side: Side | None
    ) -> Vectors:
        """Return vectors of texts that are not in the cache; what is known is not embedded."""
        embedder, known = self.model.embedder, self.model.known
        if known is None:
            return self._embed(texts, prompt, side)
        places, vectors = known.find(digests, prompt, side)
        others = np.setdiff1d(np.arange(len(texts)), places)
        computed = np.empty((len(texts), embedder.dimensions), np.float32)
        computed[places] = vectors
        if len(others):
            computed[others] = self._embed([texts[i] for i in others], prompt, side)
        return computed

    def _embed(self, texts: Sequence[str], prompt: str, side: Side | None) -> Vectors:
        """Embed texts behind a prompt. A model that leaves prompts out has a longer one before a
        document without a title."""
        embedder, prompts = self.model.embedder, self.model.prompts
        if side != "document" or embedder.pools_prompts or not prompts.writes_titles:
            return embedder.embed(texts, prompt, side)
        split = [prompts.wording.split(prompt + text, side) for text in texts]
        return embed_split(embedder, split, side)

    def _open_cache(self, folder: Path, prompt: str, side: Side | None) -> VectorCache:
        if (prompt, side) not in self._caches:
            embedder = self.model.embedder
            origin = {"model": self.model.name, "revision": self.model.revision}
            identity = origin | embedder.describe_identity(prompt, side)
            self._caches[prompt, side] = VectorCache(folder, identity, embedder.dimensions)
        return self._caches[prompt, side]


class MtebEncoder:
    """A model in the form of mteb's EncoderProtocol. mteb's `batch_size` and further arguments are
    not used: batches are made by a token budget."""

    def __init__(self, model: EvalModel, folder: Path | None, mteb_model_meta: "ModelMeta") -> None:
        self.mteb_model_meta = mteb_model_meta
        self.model = model.model
        self._rules = need("mteb.models.abs_encoder", "eval").AbsEncoder
        self._texts = CachedEmbeddings(model, folder)
        self._documents = CachedEmbeddings(model.documents or model, folder)
        self._storage = Quantizer(model.form)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: "TaskMetadata",
        hf_split: str,
        hf_subset: str,
        prompt_type: "PromptType | None" = None,
        **kwargs: Any,
    ) -> Vectors:
        """Embed, as (texts, dimensions) float32, a data loader's batches with the key `text`: by
        mteb made of a document's title and text, or of a query and its own instruction."""
        side: Side | None = prompt_type.value if prompt_type else None
        source = self._documents if side == "document" else self._texts
        prompts = source.model.prompts
        prompt = prompts.choose_prompt(task_metadata, side)
        label = f"{source.model.name}, {task_metadata.name}"
        batches = _iterate_texts(inputs, label, prompts if side == "document" else None)
        vectors = source.embed(batches, prompt, side)
        return self._storage.quantize(vectors, side, f"{task_metadata.name}/{hf_subset}")

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Compute similarities, (n, m), by the function that the metadata name, as mteb computes
        it."""
        similarities: Tensor = self._rules.similarity(self, embeddings1, embeddings2)
        return similarities

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Compute the similarity of each pair by the same function: (n,)."""
        similarities: Tensor = self._rules.similarity_pairwise(self, embeddings1, embeddings2)
        return similarities


def _split_into_blocks(batches: Iterable[list[str]]) -> Iterator[list[str]]:
    """Yield the texts in the blocks that are committed together. The last block may be smaller:
    an empty batch ends it."""
    block: list[str] = []
    for batch in batches:
        block += batch
        while len(block) >= CHUNK or (block and not batch):
            yield block[:CHUNK]
            block = block[CHUNK:]
    if block:
        yield block


def _iterate_texts(inputs: Any, label: str, documents: EvalPrompts | None) -> Iterator[list[str]]:
    """Yield the batches' texts, with progress where they are many.

    Args:
        documents: how they are written, of documents.
    """
    total = len(inputs.dataset)
    if total <= CHUNK:
        yield from (_write_texts(batch, documents) for batch in inputs)
        return
    read = 0
    with Progress(label, total, "texts", requests_a_unit=1) as progress:
        for batch in inputs:
            yield _write_texts(batch, documents)
            read += len(batch["text"])
            if blocks := (read - progress.done) // CHUNK:  # have been embedded by now
                progress.advance(blocks * CHUNK)
        yield []  # the rest is embedded behind the last batch
        progress.advance(read - progress.done)


def _write_texts(batch: Mapping[str, list[Any]], documents: EvalPrompts | None) -> list[str]:
    """Write the texts to embed: mteb's, which are title and text joined; or title and text as the
    model was trained to read them."""
    texts: list[str] = batch["text"]
    if documents is None or not documents.writes_titles:
        return texts
    titles = batch.get("title", [""] * len(texts))
    pairs = zip(batch.get("body", texts), titles, strict=True)
    return [documents.write_document(body, title or "") for body, title in pairs]


def wrap_for_mteb(model: EvalModel, vectors: Path | None = None) -> "MtebEncoder":
    """Wrap a model in the encoder that mteb calls.

    Args:
        vectors: the folder in which its vectors are stored, so that no text is encoded twice; None
            stores nothing.
    """
    return MtebEncoder(model, vectors, build_model_meta(model))


def build_model_meta(model: EvalModel) -> "ModelMeta":
    """Build mteb's ModelMeta. What departs from the model's own settings is an mteb experiment,
    whose results stand apart."""
    meta = need("mteb.models", "eval").ModelMeta
    licences = get_args(need("mteb.types", "eval").Licenses)
    licence = (model.licence or "").lower()
    precision = model.form.precision
    known: dict[str, Any] = {
        "name": model.name,
        "revision": model.revision,
        "n_parameters": model.parameters,
        "max_tokens": model.max_tokens,
        "embed_dim": model.dimensions,
        # mteb reads back none but those of its list.
        "license": licence if licence in licences else None,
        "use_instructions": model.prompts.wording.has_task or any(model.prompts.named.values()),
        "experiment_kwargs": model.experiment or None,
        "similarity_fn_name": _choose_similarity(model),
        "framework": ["API"],
    }
    if precision != "float32":
        known["output_dtypes"] = [need("mteb.types", "eval").OutputDType(precision)]
    if model.model is not None:
        known |= _describe_weights(model.model)
    return meta.create_empty(overwrites=known)


def _describe_weights(model: SentenceTransformer) -> dict[str, Any]:
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    transformer = find_text_transformer(model)
    embedding: Any = transformer and transformer.auto_model.get_input_embeddings()
    words = embedding and embedding.weight.numel()
    return {
        "framework": ["Sentence Transformers", "PyTorch"],
        "open_weights": True,
        "n_embedding_parameters": words,
        "memory_usage_mb": round(size / 2**20, 1),
    }


def _choose_similarity(model: EvalModel) -> Any:
    """Choose the model's similarity function. An index computes inner products. None where mteb has
    no name for the model's function, and asks the model itself."""
    function = need("mteb.models.model_meta", "eval").ScoringFunction
    if not model.form.plain:
        return function.DOT_PRODUCT
    if model.model is None:
        return function.COSINE
    names = {"cosine": function.COSINE, "dot": function.DOT_PRODUCT}
    return names.get(str(model.model.similarity_fn_name))
