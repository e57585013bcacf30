"""The retriever, or a teacher, by its settings: in this process or behind a server."""

from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from distill.embed.encoder import Encoder, SentenceTransformerEncoder, computed_dtype
from distill.embed.endpoint import EndpointEncoder
from distill.embed.published import published_as
from distill.errors import UserError
from distill.models.attention_check import CODE, remote_class
from distill.models.reference import resolve, revision
from distill.models.sentence_transformer import read_settings
from distill.recipe.sections.embedder import PLAIN_QUERY, EmbedderConfig
from distill.store.local_name import name_model


def open_embedder(settings: EmbedderConfig, model: str) -> Encoder:
    """
    Raises:
        UserError: if the model or the server cannot be had, or the model does not do as it was
            published to.
    """
    check_served(settings)
    if settings.base_url is None:
        return SentenceTransformerEncoder(model, settings)
    return EndpointEncoder(settings, model)


def check_served(settings: EmbedderConfig) -> None:
    """
    Raises:
        UserError: if of a served model something is asked that is the server's affair.
    """
    for name in ("bidirectional", "append_eos", "known_as"):
        if settings.base_url is not None and getattr(settings, name):
            raise UserError(
                settings.key(name),
                f"cannot be checked of a model behind {settings.key('base_url')}",
                "take it out; check the model where it runs",
            )


def embedder_identity(settings: EmbedderConfig, model: str) -> dict[str, object]:
    """What of an embedder changes its vectors: for fingerprints. What is as it was before it could
    be set is left out. A server answers for its own model: of that only the name is known, and the
    address is no part of it."""
    served = settings.base_url is not None
    found: dict[str, object] = {
        "model": model if served else name_model(model),
        "revision": "served" if served else revision(model),
        "max_tokens": settings.max_tokens,
    }
    if settings.query_template != PLAIN_QUERY:
        found["query_template"] = settings.query_template
    set_apart = {"query_prompt", "document_prompt", "append_eos"}
    found |= settings.model_dump(include=set_apart, exclude_defaults=True)
    found |= settings.fields_identity
    dtype = "float32" if served else computed_dtype(settings.dtype, settings.device)
    if dtype != "float32":
        found["dtype"] = dtype
    if not served:
        found |= _made_good(model, settings)
    return found


def _made_good(model: str, settings: EmbedderConfig) -> dict[str, object]:
    """What is done for a model beside loading its files, as far as they say it themselves."""
    folder = resolve(model)
    found: dict[str, object] = {}
    config, published = read_settings(folder, "config.json"), published_as(model, settings)
    decodes = config.get("model_type") not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if settings.bidirectional and decodes and config.get("is_causal") is not False:
        found["bidirectional"] = True
    code = remote_class(config.get("auto_map"))
    if code in CODE:
        found["code"] = code
        if settings.bidirectional is False:  # not as that code does
            found["bidirectional"] = False
    if read_settings(folder, "tokenizer_config.json").get("add_eos_token") is True:
        found["add_eos_token"] = True
    if published.mark:
        found["published"] = published.mark
    return found
