"""Changes to a model that hold only while it is trained: its attention kernel, its dropout, and
what the trainer sets."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers.utils.import_utils import is_flash_attn_2_available

from distill.errors import UserError
from distill.models.bidirectional import can_see_later_tokens
from distill.models.sentence_transformer import find_text_transformer
from distill.student.base_model import get_first_transformer, get_text_tokenizer

FLASH = "flash_attention_2"
_OF_ATTENTION = "attention_dropout"  # some attentions read a number in place of a module


def check_kernel(kernel: str | None) -> None:
    """Refuse a kernel that this machine does not have.

    Raises:
        UserError: naming the key.
    """
    if kernel == FLASH and not is_flash_attn_2_available():
        raise UserError(
            f"train.kernel {kernel}",
            "needs a GPU of NVIDIA's or AMD's and the package flash-attn, and one is missing",
            "pip install flash-attn, or train.kernel: sdpa",
        )


@contextmanager
def override_attention(model: SentenceTransformer, kernel: str | None) -> Iterator[None]:
    """Let this kernel compute the model's attention for a while; None: no other than does already.

    That tokens see as many others as before is tried, not believed: each kernel has its own way to
    be told that a model is not causal.

    Raises:
        UserError: if they do not.
    """
    if kernel is None:
        yield
        return
    transformer = get_first_transformer(model)
    inner = transformer.model
    loaded = inner.config._attn_implementation
    if kernel == loaded:
        yield
        return
    tokenizer = get_text_tokenizer(transformer)
    training = inner.training
    inner.eval()  # dropout would move the first tokens, too
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=kernel == FLASH)
    for padded in (False, True):
        before = can_see_later_tokens(transformer, tokenizer, padded)
        inner.set_attn_implementation(kernel)
        with half:
            after = can_see_later_tokens(transformer, tokenizer, padded)
        inner.set_attn_implementation(loaded)
        if before != after:
            raise UserError(
                f"train.kernel {kernel}",
                f"computes {'causal' if before else 'bidirectional'} attention where {loaded} does "
                "not",
                f"train.kernel: {loaded}",
            )
    inner.set_attn_implementation(kernel)
    inner.train(training)
    try:
        yield
    finally:
        inner.set_attn_implementation(loaded)


@contextmanager
def keep_padding(model: SentenceTransformer) -> Iterator[None]:
    """Keep which token the model's configuration names as padding: transformers' trainer sets it to
    the tokenizer's, which may be the end of sequence, and the row of a padding is not trained where
    the model is loaded again."""
    transformer = find_text_transformer(model)
    if transformer is None:
        yield
        return
    config = transformer.model.config.get_text_config()
    padding = config.pad_token_id
    try:
        yield
    finally:
        config.pad_token_id = padding


@contextmanager
def override_dropout(model: nn.Module, rate: float | None) -> Iterator[None]:
    """Set this rate everywhere but in LoRA's matrices, which have their own; as it was afterwards.

    Args:
        rate: None: each as the model's configuration says.
    """
    if rate is None:
        yield
        return
    places = [
        (module, name)
        for path, module in model.named_modules()
        if "lora_" not in path
        for name in ("p", _OF_ATTENTION)
        if name == _OF_ATTENTION or isinstance(module, nn.Dropout)
        if isinstance(getattr(module, name, None), float)
    ]
    before = [getattr(module, name) for module, name in places]
    try:
        for module, name in places:
            setattr(module, name, rate)
        yield
    finally:
        for (module, name), was in zip(places, before, strict=True):
            setattr(module, name, was)
