"""A recipe's `llm` section -> an engine."""

from distill.llm.protocol import LLM
from distill.recipe import LanguageModel


def load_llm(settings: LanguageModel) -> LLM:
    from distill.llm.transformers_engine import TransformersEngine

    return TransformersEngine(
        settings.model, settings.dtype, settings.device, settings.batch_tokens
    )
