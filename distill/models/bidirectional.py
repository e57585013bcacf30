"""Test whether a token's state depends on later tokens, whatever the configuration says."""

from collections.abc import Sequence

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_TOKENS = 12
_LONGER = 20
_EARLY = 4
_TOLERANCE = 1e-6
"""Of the largest state. The states of a causal model do not move at all."""


@torch.inference_mode()
def can_see_later_tokens(
    transformer: Transformer, tokenizer: PreTrainedTokenizerBase, padded: bool
) -> bool:
    """Return whether the states of the first tokens change when the last one is another, in a batch
    with or without padding: where nothing is padded the mask is skipped, and with it whatever lies
    in the mask alone (llm2vec, issue 74)."""
    ids = _choose_ordinary_ids(tokenizer)
    text, longer = ids[:_TOKENS], [ids[:_LONGER]] if padded else []
    before = _compute_early_states(transformer, tokenizer, [text, *longer])
    after = _compute_early_states(transformer, tokenizer, [[*text[:-1], text[0]], *longer])
    moved = (before - after).abs().max()
    return bool(moved > _TOLERANCE * before.abs().max())


def _choose_ordinary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Choose token ids from all over the vocabulary, none of them special."""
    special = set(tokenizer.all_special_ids)
    ids = [i for i in range(len(tokenizer)) if i not in special]
    return ids[:: max(1, len(ids) // _LONGER)]


def _compute_early_states(
    transformer: Transformer, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]
) -> Tensor:
    """Compute the last states of the first row's first tokens: (tokens, width)."""
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
