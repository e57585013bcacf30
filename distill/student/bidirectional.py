"""A decoder made bidirectional, and the proof that it is so.

`is_causal: false` in its configuration is what transformers (5.2 and later) reads: the masks of
full and of sliding layers are made bidirectional, and so is the kernel where no mask is needed. It
is saved in config.json, so that the model is the same wherever it is loaded. Windows stay: the
weights were trained with them; they now reach to both sides.
"""

from sentence_transformers.sentence_transformer.modules import Transformer
from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from distill.errors import UserError
from distill.models.bidirectional import can_see_later_tokens
from distill.recipe import Student
from distill.student.base_model import get_text_tokenizer


def is_decoder(config: PretrainedConfig) -> bool:
    """Return whether models of this type were trained to continue texts, not to fill in masked
    words."""
    kind = config.get_text_config().model_type
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (
        kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )


def set_attention(transformer: Transformer, student: Student) -> None:
    """Let a decoder's tokens see as `student.attention` says, in place.

    Raises:
        UserError: see `check_attention`.
    """
    config = transformer.model.config
    if student.attention == "bidirectional" and is_decoder(config):
        config.get_text_config().is_causal = False
    check_attention(transformer, student)


def check_attention(transformer: Transformer, student: Student) -> None:
    """Change a text's last token and see whether the first ones move: with and without padding,
    and for a decoder with both ways of computing attention that every machine has.

    Raises:
        UserError: if they do under causal attention, or do not under bidirectional attention.
    """
    model, tokenizer = transformer.model, get_text_tokenizer(transformer)
    loaded = model.config._attn_implementation
    training = model.training
    model.eval()
    both = is_decoder(model.config) and loaded == "sdpa"
    for implementation in ["eager", "sdpa"] if both else [loaded]:
        if implementation != loaded:
            model.set_attn_implementation(implementation)
        for padded in (False, True):
            sees = can_see_later_tokens(transformer, tokenizer, padded)
            if sees != (student.attention == "bidirectional"):
                raise _explain_other_attention(student, implementation, padded, sees)
    if model.config._attn_implementation != loaded:
        model.set_attn_implementation(loaded)
    model.train(training)


def _explain_other_attention(
    student: Student, implementation: str, padded: bool, sees: bool
) -> UserError:
    batch = f"a batch {'with' if padded else 'without'} padding under {implementation} attention"
    return UserError(
        f"student.attention {student.attention!r}",
        f"in {batch} the tokens of {student.encoder!r} {'do' if sees else 'do not'} see those "
        "behind them",
        "set student.attention: bidirectional"
        if sees
        else "name a Llama, Mistral, Qwen2, Qwen3 or Gemma, or an encoder; or set "
        "student.attention: causal with pooling last",
    )
