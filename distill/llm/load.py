"""A recipe's `llm` section -> an engine."""

from distill.llm.protocol import LLM
from distill.models import revision
from distill.recipe import LanguageModel


def identity(settings: LanguageModel) -> dict[str, str]:
    """What of an LLM changes results: for fingerprints."""
    return {
        "model": settings.model,
        "revision": revision(settings.model),
        "engine": settings.engine,
        "dtype": settings.dtype,
    }


def load_llm(settings: LanguageModel) -> LLM:
    from distill.llm.transformers_engine import TransformersEngine

    return TransformersEngine(
        settings.model, settings.dtype, settings.device, settings.batch_tokens
    )
