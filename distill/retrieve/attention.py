"""Whether an encoder that is declared bidirectional is so.

A decoder turned encoder runs causally where what turns it is not loaded: gte-Qwen2 without its
remote code, EmbeddingGemma on an old transformers. Nothing fails, the vectors are only worse. And a
conversion that lives in the attention mask alone is lost in a batch without padding, whose mask is
skipped (llm2vec, issue 74). So it is tried, not believed.
"""

from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from distill.errors import UserError

_TOKENS = 12
_LONGER = 20
_EARLY = 4
_TOLERANCE = 1e-6
"""Of the largest state. The states of a causal model do not move at all."""


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
        if not _sees_later_tokens(transformer, tokenizer, padded):
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


@torch.inference_mode()
def _sees_later_tokens(
    transformer: Transformer, tokenizer: PreTrainedTokenizerBase, padded: bool
) -> bool:
    """Whether the states of the first tokens change when the last one is another."""
    ids = _ordinary_ids(tokenizer)
    text, longer = ids[:_TOKENS], [ids[:_LONGER]] if padded else []
    before = _early_states(transformer, tokenizer, [text, *longer])
    after = _early_states(transformer, tokenizer, [[*text[:-1], text[0]], *longer])
    moved = (before - after).abs().max()
    return bool(moved > _TOLERANCE * before.abs().max())


def _ordinary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids from all over the vocabulary, none of them special."""
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    return ids[:: max(1, len(ids) // _LONGER)]


def _early_states(
    transformer: Transformer, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]
) -> Tensor:
    """The last states of the first row's first tokens: (tokens, width)."""
    width = max(map(len, rows))
    padding = tokenizer.pad_token_id or 0
    left = tokenizer.padding_side == "left"
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        start = width - len(row) if left else 0
        ids[place, start : start + len(row)] = torch.tensor(row)
        mask[place, start : start + len(row)] = 1
    device = transformer.model.device
    features = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    states: Tensor = transformer(features)["token_embeddings"]
    first = width - len(rows[0]) if left else 0
    return states[0, first : first + _EARLY].float()
