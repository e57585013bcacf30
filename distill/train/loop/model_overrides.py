"""What computes attention while a student is trained: the same mathematics, another speed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sentence_transformers import SentenceTransformer
from transformers.utils.import_utils import is_flash_attn_2_available

from distill.errors import UserError
from distill.models.bidirectional import sees_later_tokens
from distill.student.base_model import first_transformer, text_tokenizer

FLASH = "flash_attention_2"


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
def attention_by(model: SentenceTransformer, kernel: str | None) -> Iterator[None]:
    """Let this kernel compute the model's attention for a while; None: no other than does already.

    That tokens see as many others as before is tried, not believed: each kernel has its own way to
    be told that a model is not causal.

    Raises:
        UserError: if they do not.
    """
    transformer = first_transformer(model)
    inner = transformer.model
    found = inner.config._attn_implementation
    if kernel in (None, found):
        yield
        return
    tokenizer = text_tokenizer(transformer)
    training = inner.training
    inner.eval()  # dropout would move the first tokens, too
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=kernel == FLASH)
    for padded in (False, True):
        before = sees_later_tokens(transformer, tokenizer, padded)
        inner.set_attn_implementation(kernel)
        with half:
            after = sees_later_tokens(transformer, tokenizer, padded)
        inner.set_attn_implementation(found)
        if before != after:
            raise UserError(
                f"train.kernel {kernel}",
                f"computes {'causal' if before else 'bidirectional'} attention where {found} does "
                "not",
                f"train.kernel: {found}",
            )
    inner.set_attn_implementation(kernel)
    inner.train(training)
    try:
        yield
    finally:
        inner.set_attn_implementation(found)
