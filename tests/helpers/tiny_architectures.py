"""Tiny models of the architectures that a student is made from, and their kinds of tokenizers."""

import json
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
)

from helpers.tiny_models import TEXTS, make_wordpiece_tokenizer

DECODERS = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"]


def make_tiny_decoder(folder: Path, family: str = "llama", seed: int = 0, **config: object) -> Path:
    """A two-layer decoder of one of the families. Its byte-level BPE tokenizer, like many, has no
    padding and adds no special token. Where a family has windows, its first layer has one."""
    torch.manual_seed(seed)
    fast = _train_byte_pairs()
    sizes = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "bos_token_id": fast.bos_token_id,
        "eos_token_id": fast.eos_token_id,
        "pad_token_id": None,
        "initializer_range": 0.3,
    }
    windows = {"sliding_window": 16, "query_pre_attn_scalar": 8}
    if family in ("gemma2", "gemma3_text"):
        sizes |= windows | {"layer_types": ["sliding_attention", "full_attention"]}
    if family == "mistral":
        sizes |= {"sliding_window": 16}
    made = AutoConfig.for_model(family, **sizes | config)
    AutoModelForCausalLM.from_config(made).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def _train_byte_pairs() -> PreTrainedTokenizerFast:
    """GPT-2's kind of tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "</s>", "<|endoftext|>"],  # the last: Qwen2 pads with it
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=256
    )


def make_tiny_modernbert(folder: Path, tokens: Literal["wordpiece", "unigram", "bpe"]) -> Path:
    """A ModernBERT, whose first layer has no norm and whose others have a window, with one of the
    kinds of tokenizers; `bpe` is Llama's: words begin with a mark, unknown characters are bytes."""
    torch.manual_seed(0)
    fast = {
        "wordpiece": make_wordpiece_tokenizer,
        "unigram": _train_unigram,
        "bpe": _train_marked_pairs,
    }[tokens]()
    config = ModernBertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        local_attention=16,
        initializer_range=0.3,
        **{f"{name}_token_id": getattr(fast, f"{name}_token_id") for name in ("pad", "cls", "sep")},
        bos_token_id=None,
        eos_token_id=None,
    )
    ModernBertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


_MARKS = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}


def _train_unigram() -> PreTrainedTokenizerFast:
    """XLM-R's kind of tokenizer."""
    tokenizer = Tokenizer(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(_MARKS.values()), unk_token="[UNK]"
    )
    return _add_marks(tokenizer, trainer)


def _train_marked_pairs() -> PreTrainedTokenizerFast:
    """Llama 2's kind of tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", byte_fallback=True, fuse_unk=True))
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*_MARKS.values(), *bytes_], show_progress=False
    )
    fast = _add_marks(tokenizer, trainer)
    # In Llama's file bytes are ordinary tokens.
    described = json.loads(fast.backend_tokenizer.to_str())
    marks = set(_MARKS.values())
    described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] in marks]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)), model_max_length=64, **_MARKS
    )


def _add_marks(tokenizer: Tokenizer, trainer: trainers.Trainer) -> PreTrainedTokenizerFast:
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXTS, trainer)
    ends = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **_MARKS)
