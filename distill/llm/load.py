"""A recipe's `llm` section -> an engine."""

from pathlib import Path

from distill.llm.protocol import LLM
from distill.models import revision
from distill.recipe import LanguageModel


def identity(settings: LanguageModel) -> dict[str, str]:
    """What of an LLM changes results: for fingerprints. A server answers for its own model: of
    that only the name is known, and the address is no part of it."""
    served = settings.engine == "http"
    known = {
        "model": settings.model,
        "revision": "served" if served else revision(settings.model),
        "engine": settings.engine,
        "dtype": settings.dtype,
        "form": settings.form,
    }
    if settings.quantization:
        known["quantization"] = settings.quantization
    if settings.extra_body:
        known["extra_body"] = repr(sorted(settings.extra_body.items()))
    return known


def load_llm(settings: LanguageModel, requests: Path) -> LLM:
    """The engine that `settings` name.

    Args:
        requests: the SQLite file in which the HTTP engine keeps every reply.

    Raises:
        UserError: if the engine is not installed, or the model cannot be had.
    """
    if settings.engine == "vllm":
        from distill.llm.vllm_engine import VLLMEngine

        return VLLMEngine(settings)
    if settings.engine == "http":
        from distill.llm.http_engine import HTTPEngine

        return HTTPEngine(settings, requests)
    from distill.llm.transformers_engine import TransformersEngine

    return TransformersEngine(
        settings.model, settings.dtype, settings.device, settings.batch_tokens
    )
