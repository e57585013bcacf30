"""Whether a model's tokenizer reads what continues a prompt in another way alone than behind it."""

from functools import lru_cache

from distill.llm.prompts import CONTINUATION, Prompt
from distill.llm.tokenization import PromptTokenizer
from distill.models.causal_lm import model_folder
from distill.models.loading import load_tokenizer
from distill.recipe import LanguageModel
from distill.runtime.devices import best_device, torch_dtype


def joined_if_needed(settings: LanguageModel, prompt: Prompt) -> dict[str, object]:
    """For fingerprints of scores: empty, but for tokenizers that put a blank before the second
    part of this prompt where it stands alone. With those, earlier versions scored a blank too
    many."""
    if settings.engine == "http":
        return {}
    start = prompt.source.partition(CONTINUATION)[2][:1]
    device = settings.device or best_device()
    adds = _encoder(settings.model, settings.dtype, device).adds_a_blank(start)
    return {"joined": True} if adds else {}


@lru_cache(maxsize=4)
def _encoder(model: str, dtype: str, device: str) -> PromptTokenizer:
    return PromptTokenizer(load_tokenizer(model_folder(model, torch_dtype(dtype, device))), model)
