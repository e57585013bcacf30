"""Tiny real models, built in memory and saved as folders: random weights, a real tokenizer."""

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

TEXTS = [
    "The heart pumps blood through the body; the lungs take oxygen from the air.",
    "Copper conducts electricity well and does not rust, so wires are made of it.",
    "A glacier is a slow river of ice that carves valleys as it moves.",
    "Bees dance to tell other bees where the flowers are.",
    "The library opens at nine and closes at six, except on Sundays.",
    "Yeast turns sugar into alcohol and carbon dioxide, which makes bread rise.",
    "Tides follow the moon: the sea rises and falls twice a day.",
    "Bridges of steel expand in summer, so gaps are left between their parts.",
    "An owl can turn its head so far that it looks behind itself.",
    "Salt lowers the freezing point of water, which is why roads are salted.",
    "Chess is played on a board of sixty-four squares by two players.",
    "The printing press made books cheap and spread reading.",
]


def tiny_llm(folder: Path, seed: int = 0) -> Path:
    """A two-layer Llama with a byte-level BPE tokenizer."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([*TEXTS, "Passage: Task: Query: yes no\n"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def tiny_encoder(
    folder: Path,
    seed: int = 0,
    layers: int = 3,
    width: int = 32,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A BERT-like sentence encoder with mean pooling."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=special)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=fast.pad_token_id,
    )
    plain = folder.with_name(folder.name + "-plain")
    BertModel(config, add_pooling_layer=False).save_pretrained(plain)
    fast.save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=64)
    pooling = Pooling(width, pooling_mode="mean")
    SentenceTransformer(
        modules=[transformer, pooling, Normalize()], prompts=prompts
    ).save_pretrained(str(folder))
    return folder
