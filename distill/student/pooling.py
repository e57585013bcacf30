"""Pooling, which turns a text's token states into one vector, and the settings of the tokenizer
that it needs."""

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedTokenizerBase

from distill.errors import UserError
from distill.models.end_of_sequence import append_eos
from distill.models.latent_attention import LatentAttention
from distill.recipe import Student

_MODES = {"mean": "mean", "latent": "mean", "last": "lasttoken", "cls": "cls"}


def make_pooling(student: Student, width: int) -> list[nn.Module]:
    """Make the pooling: (batch, tokens, width) -> (batch, width)."""
    pooling = Pooling(width, _MODES[student.pooling], include_prompt=student.pool_prompt)
    if student.pooling != "latent":
        return [pooling]
    return [LatentAttention(width, student.latent.latents, student.latent.heads), pooling]


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, student: Student) -> None:
    """Add padding to a tokenizer that has none, and an end of sequence for `last`, in place.

    A decoder pads on the right, like every encoder; its vectors are the same on either side. The
    model's own `pad_token_id` stays unset: an embedding does not train the row of its padding,
    which may be that of the end of sequence.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = _find_end_of_sequence(tokenizer, student)
    tokenizer.padding_side = "right"
    if student.pooling == "last":
        _append_end(tokenizer, student)


def _append_end(tokenizer: PreTrainedTokenizerBase, student: Student) -> None:
    """Let every text end in the end of sequence, unless it ends in a special token anyway."""
    special = set(tokenizer.all_special_ids)
    if tokenizer("text")["input_ids"][-1] in special:
        return
    _find_end_of_sequence(tokenizer, student)
    append_eos(tokenizer)


def _find_end_of_sequence(tokenizer: PreTrainedTokenizerBase, student: Student) -> str:
    if tokenizer.eos_token is None:
        raise UserError(
            f"student.encoder {student.encoder!r}",
            "its tokenizer has no end of sequence",
            "name eos_token in its tokenizer_config.json, or take another student.pooling",
        )
    return str(tokenizer.eos_token)


def check_prompts(
    tokenizer: PreTrainedTokenizerBase, student: Student, prompts: Iterable[str]
) -> None:
    """Check prompts. Where prompts are not pooled, as many first tokens are left out as the prompt
    alone has: it must not share a token with the text behind it.

    Raises:
        UserError: naming the prompt, if it does.
    """
    if student.pool_prompt:
        return
    for prompt in filter(None, prompts):
        alone = tokenizer(prompt)["input_ids"][: count_prompt_tokens(tokenizer, prompt)]
        for text in ("word", "Word", "7"):
            if tokenizer(prompt + text)["input_ids"][: len(alone)] != alone:
                raise UserError(
                    f"student.pool_prompt false, prompt {prompt!r}",
                    "its last token is another one where a text follows, and that text's first "
                    "word would be left out with it",
                    "end the prompt with a line break, or with a colon and no space",
                )


def count_prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str) -> int:
    """Count how many of a text's first tokens are its prompt's, as sentence-transformers counts
    them."""
    if not prompt:
        return 0
    ids = tokenizer(prompt)["input_ids"]
    return len(ids) - (ids[-1] in tokenizer.all_special_ids)


def leave_prompts_out(model: SentenceTransformer) -> RemovableHandle:
    """Let pooling leave out each row's own prompt, for training: `prompt_length` is then an integer
    tensor (batch,). sentence-transformers takes one length for a whole batch, which is what
    encoding has, and leaves out by itself; a batch of examples has many tasks. Nothing of it is
    saved."""
    pooling = next(module for module in model.modules() if isinstance(module, Pooling))
    return pooling.register_forward_pre_hook(_mask_prompts)


def _mask_prompts(module: nn.Module, inputs: tuple[dict[str, Any]]) -> tuple[dict[str, Any]]:
    features = dict(inputs[0])
    lengths = features.get("prompt_length")
    if isinstance(lengths, Tensor):
        del features["prompt_length"]
        mask = features["attention_mask"]
        seen = mask.cumsum(dim=1)  # of real tokens, whichever side is padded
        features["attention_mask"] = torch.where(seen > lengths.to(mask)[:, None], mask, 0)
    return (features,)
