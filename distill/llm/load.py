"""Loads the engine of a recipe's `llm` section, and identifies it for fingerprints."""

from pathlib import Path

from distill.errors import UserError
from distill.llm.protocol import LLM
from distill.models.reference import identify_revision
from distill.models.sources.in_memory import find_object, identify_object, is_object
from distill.recipe import LanguageModel
from distill.runtime.devices import choose_device
from distill.store.local_name import name_model


def identify_llm(settings: LanguageModel) -> dict[str, object]:
    """Collect what changes an LLM's results, for fingerprints. Of a server's model only the name is
    known; its address does not count."""
    if is_object(settings.model):
        return {**identify_object(settings.model), "form": settings.prompt_format}
    served = settings.engine == "http"
    known: dict[str, object] = {
        "model": settings.model if served else name_model(settings.model),
        "revision": "served" if served else identify_revision(settings.model),
        "engine": settings.engine,
        "dtype": settings.dtype,
        "form": settings.prompt_format,
    }
    if settings.quantization:
        known["quantization"] = settings.quantization
    if settings.engine == "vllm" and settings.max_model_tokens:
        known["max_model_tokens"] = settings.max_model_tokens  # what is longer has a fault
    if settings.extra_body:
        known["extra_body"] = repr(sorted(settings.extra_body.items()))
    return known


_PROMPTS_PER_GPU = 1024
_REQUESTS_PER_CONNECTION = 8
"""At the end of a call the server works on its slowest requests alone: several rounds of requests
per call keep that time short."""


def choose_prompts_per_call(settings: LanguageModel) -> int:
    """Choose how many prompts per call keep the engine busy. In this process a single shard is
    enough: more would only be lost when it is killed."""
    if settings.engine == "http":
        return _REQUESTS_PER_CONNECTION * settings.concurrency
    on_gpu = settings.engine == "vllm" and (settings.device or choose_device()) != "cpu"
    return _PROMPTS_PER_GPU * settings.data_parallel if on_gpu else 1


def load_llm(settings: LanguageModel, requests: Path) -> LLM:
    """Load the engine that `settings` describe.

    Args:
        requests: the SQLite file in which the HTTP engine stores every reply.

    Raises:
        UserError: if the engine is not installed, or the model is not available.
    """
    if is_object(settings.model):
        llm: LLM = find_object(settings.model)
        return llm
    if settings.engine == "vllm":
        from distill.llm.vllm.engine import VLLMEngine

        return VLLMEngine(settings)
    if settings.engine == "http":
        from distill.llm.http.engine import HTTPEngine

        return HTTPEngine(settings, requests)
    from distill.llm.transformers.engine import TransformersEngine

    return TransformersEngine(
        settings.model, settings.dtype, settings.device, settings.batch_tokens
    )


def uses_chat_template(model: LanguageModel, llm: LLM) -> bool:
    """Return whether prompts are sent as messages of the model's chat template, not as texts to
    continue.

    Raises:
        UserError: if the recipe asks for chat and the model has no chat template.
    """
    key = model.name_key("prompt_format")
    if model.prompt_format == "chat" and not llm.has_chat:
        raise UserError(
            model.model,
            f"has no chat template, and {key} is chat",
            f"set {key} to completion, or choose a model that was tuned for chat",
        )
    return model.prompt_format != "completion" and llm.has_chat
