"""Open a retriever or a teacher by its settings, in this process or behind a server, and identify
it for fingerprints."""

from dataclasses import dataclass, replace
from typing import TypeVar

from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from distill.embed.described import open_described
from distill.embed.document_route import find_document_encoder
from distill.embed.encoder import Encoder
from distill.embed.local import LocalEmbedder
from distill.embed.open_model import UNTITLED_MARK, choose_dtype, open_model
from distill.embed.published import look_up_published
from distill.embed.wording import EmbedderPrompts, has_words
from distill.errors import UserError
from distill.models.attention_check import CODE, find_remote_class
from distill.models.reference import identify_revision, resolve
from distill.models.sentence_transformer import (
    are_prompts_left_out,
    read_prompts,
    read_settings,
)
from distill.models.sources.in_memory import find_object, identify_object, is_object
from distill.recipe.sections.embedder import PLAIN_QUERY, EmbedderConfig
from distill.runtime.devices import has_device
from distill.store.local_name import name_model
from distill.text.format import DOCUMENT_TEMPLATE
from distill.workers.local import LOCAL
from distill.workers.protocol import WorkerNeeds, Workers

S = TypeVar("S", bound=EmbedderConfig)


def open_embedder(settings: EmbedderConfig, model: str, workers: Workers = LOCAL) -> Encoder:
    """Open a model in this process, or the server's where the settings name one.

    Args:
        workers: who will compute with it (see `place_here`).

    Raises:
        UserError: if the model or the server is not available, or the model does not compute what
            it was published to.
    """
    if is_object(model):
        encoder: Encoder = find_object(model)
        return encoder
    check_served(settings)
    if settings.base_url is not None:
        return _connect(settings, model)
    source = LocalSource(model, settings)

    def open_here() -> Encoder:
        return replace(load_encoder(model, place_here(settings, workers)), source=source)

    if not workers.hold_models:
        return open_here()
    opened = open_described(source, workers, open_here)
    _check_dtype(opened, settings)
    return opened


def _check_dtype(opened: Encoder, settings: EmbedderConfig) -> None:
    """Refuse a dtype of a worker's device that fingerprints, which are made here, do not name.

    Raises:
        UserError: with the remedy.
    """
    here = choose_dtype(settings.dtype, settings.device)
    there = str(opened.identity.get("dtype", "float32"))
    if here != there:
        raise UserError(
            settings.name_key("dtype"),
            f"auto would be {there} on a worker, and is {here} in the process that writes the run",
            f"set it to {there}, so that all machines compute the same",
        )


def place_here(settings: S, workers: Workers) -> S:
    """Return the settings as the process follows them that gives its work to workers: on the CPU
    where the GPU that they name is the workers' alone."""
    if workers.local or has_device(settings.device):
        return settings
    return settings.model_copy(update={"device": "cpu"})


def load_encoder(reference: str, settings: EmbedderConfig) -> Encoder:
    """Load a sentence-transformers model, with the prompts that the settings name, or that it was
    published with, or that its files carry.

    Raises:
        UserError: if the model is not available, or does not compute what it was published to.
    """
    opened = open_model(reference, settings)
    embedder = LocalEmbedder(opened, settings.batch_tokens)
    key = settings.name_key("query_template")
    source = LocalSource(reference, settings)
    same = find_document_encoder(opened.folder, opened.identity)
    return Encoder(
        embedder,
        opened.wording,
        opened.identity,
        reference,
        key,
        source=source,
        document_identity=same,
    )


@dataclass(frozen=True)
class LocalSource:
    """A sentence-transformers model and the settings that it is loaded with."""

    reference: str
    settings: EmbedderConfig

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker needs for it."""
        return choose_needs(self.settings, self.reference)

    def open(self) -> Encoder:
        """Load it."""
        return load_encoder(self.reference, self.settings)


def choose_needs(settings: EmbedderConfig, model: str) -> WorkerNeeds:
    """Choose what a worker needs for an embedder. A server's, and an object of the program, are
    asked by this process."""
    here = settings.base_url is not None or is_object(model)
    return WorkerNeeds("encoder", settings.device, here=here)


def _connect(settings: EmbedderConfig, model: str) -> Encoder:
    """Connect to a served model. Only its name is known, so name, prompts, request fields and
    length are its identity; the server's address is not."""
    from distill.embed.endpoint.embedder import EndpointEmbedder  # imports httpx

    template = settings.query_template
    before_query = "" if has_words(template) else settings.query_prompt
    identity: dict[str, str | int] = {
        "model": model,
        "revision": "served",
        "max_tokens": settings.max_tokens,
        "query_prompt": settings.query_prompt,
        "document_prompt": settings.document_prompt,
        **settings.fields_identity,
    }
    return Encoder(
        EndpointEmbedder(settings, model),
        EmbedderPrompts(template),
        identity,
        model,
        settings.name_key("query_template"),
        {"query": before_query, "document": settings.document_prompt},
    )


def check_served(settings: EmbedderConfig) -> None:
    """Refuse settings that only a model in this process can have.

    Raises:
        UserError: if of a served model something is asked that is the server's affair.
    """
    for name in ("bidirectional", "append_eos", "known_as"):
        if settings.base_url is not None and getattr(settings, name):
            raise UserError(
                settings.name_key(name),
                f"cannot be checked of a model behind {settings.name_key('base_url')}",
                "take it out; check the model where it runs",
            )


def identify_embedder(settings: EmbedderConfig, model: str) -> dict[str, object]:
    """Collect the settings of an embedder that change its vectors, for fingerprints. What is as it
    was before it could be set is left out. A server answers for its own model: of that only the
    name is known, and the address is no part of it."""
    if is_object(model):
        return identify_object(model)
    served = settings.base_url is not None
    identity: dict[str, object] = {
        "model": model if served else name_model(model),
        "revision": "served" if served else identify_revision(model),
        "max_tokens": settings.max_tokens,
    }
    if settings.query_template != PLAIN_QUERY:
        identity["query_template"] = settings.query_template
    set_apart = {"query_prompt", "document_prompt", "append_eos"}
    identity |= settings.model_dump(include=set_apart, exclude_defaults=True)
    identity |= settings.fields_identity
    dtype = "float32" if served else choose_dtype(settings.dtype, settings.device)
    if dtype != "float32":
        identity["dtype"] = dtype
    if not served:
        identity |= _list_adaptations(model, settings)
    return identity


def _list_adaptations(model: str, settings: EmbedderConfig) -> dict[str, object]:
    """List what is changed in a model after its files are loaded, as far as they do not say it
    themselves."""
    folder = resolve(model)
    identity: dict[str, object] = {}
    config, published = read_settings(folder, "config.json"), look_up_published(model, settings)
    decodes = config.get("model_type") not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if settings.bidirectional and decodes and config.get("is_causal") is not False:
        identity["bidirectional"] = True
    code = find_remote_class(config.get("auto_map"))
    if code in CODE:
        identity["code"] = code
        if settings.bidirectional is False:  # not as that code does
            identity["bidirectional"] = False
    if read_settings(folder, "tokenizer_config.json").get("add_eos_token") is True:
        identity["add_eos_token"] = True
    if published.mark:
        identity["published"] = published.mark
    if DOCUMENT_TEMPLATE in read_prompts(folder) and not settings.document_prompt:
        identity |= UNTITLED_MARK if are_prompts_left_out(folder) else {}
    return identity
