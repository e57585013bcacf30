"""Whether an encoder that is declared bidirectional is so.

A decoder turned encoder runs causally where what turns it is not loaded: gte-Qwen2 without its
remote code, EmbeddingGemma on an old transformers. Nothing fails, the vectors are only worse. And a
conversion that lives in the attention mask alone is lost in a batch without padding, whose mask is
skipped (llm2vec, issue 74). So it is tried, not believed.
"""

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from distill.attention import sees_later_tokens
from distill.errors import UserError


def check_bidirectional(
    model: SentenceTransformer, reference: str, declared: bool | None = None
) -> None:
    """Refuse an encoder whose early tokens do not see the later ones, if it is to be bidirectional:
    because `declared` says so, or where that is None because its configuration does.

    Raises:
        UserError: naming the model, and whether a batch with or without padding is causal.
    """
    transformer = next((m for m in model.modules() if isinstance(m, Transformer)), None)
    tokenizer = None if transformer is None else transformer.tokenizer
    if transformer is None or tokenizer is None or declared is False:
        return
    if declared is None and not declares_bidirectional(transformer.config.get_text_config()):
        return
    model.eval()
    for padded in (False, True):
        if not sees_later_tokens(transformer, tokenizer, padded):
            raise UserError(
                f"model {reference!r}",
                "is declared bidirectional, but in a batch "
                f"{'with' if padded else 'without'} padding its tokens do not see those behind "
                "them: it runs causally",
                "install a transformers that implements its attention, or set `is_causal` to false "
                "in its config.json; if it is meant to be causal, take the declaration out of "
                "its config.json, or set retriever.bidirectional: false",
            )


def declares_bidirectional(config: PretrainedConfig) -> bool:
    """Whether a configuration says that every token sees every other: in so many words, or because
    models of its type are encoders, trained to fill in masked words."""
    if getattr(config, "is_causal", None) is False:
        return True
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        return True
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return encoder and not decodes
