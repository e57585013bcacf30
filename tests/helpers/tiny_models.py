"""Tiny real models, built in memory and saved as folders: random weights, a real tokenizer."""

import json
import random
import re
from pathlib import Path

import torch
import yaml
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
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from distill.recipe import ALL_TASK_TYPES

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


def make_tiny_llm(folder: Path, seed: int = 0, spread: float = 0.3) -> Path:
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
        initializer_range=spread,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_tiny_encoder(
    folder: Path,
    seed: int = 0,
    layers: int = 3,
    width: int = 32,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A BERT-like sentence encoder with mean pooling."""
    torch.manual_seed(seed)
    fast = make_wordpiece_tokenizer()
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
    BertModel(config).save_pretrained(plain)
    fast.save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=64)
    pooling = Pooling(width, pooling_mode="mean")
    SentenceTransformer(
        modules=[transformer, pooling, Normalize()], prompts=prompts
    ).save_pretrained(str(folder))
    return folder


def add_own_code(folder: Path, module: bool) -> str:
    """Let a model's folder name code in itself, by a module or by the transformer's configuration,
    which fails where it is run. The name that an error should show."""
    (folder / "mine.py").write_text("raise SystemExit('code of a model was run')\n")
    file = folder / ("modules.json" if module else "config.json")
    settings = json.loads(file.read_text())
    if module:
        settings[0]["type"] = "mine.Transformer"
    else:
        settings |= {"model_type": "mine-bert", "auto_map": {"AutoConfig": "mine.Config"}}
    file.write_text(json.dumps(settings))
    return "mine.Transformer" if module else "mine-bert"


def make_wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's kind of tokenizer, for a text or for two together."""
    tokenizer = Tokenizer(models.WordPiece(_list_wordpieces(), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def _list_wordpieces() -> dict[str, int]:
    """The words of TEXTS, and the letters of all others. No trainer: that of WordPiece numbers
    letters by chance, and with them each process would have a model of its own."""
    words = set(re.findall(r"\w+|[^\w\s]", " ".join(TEXTS).lower()))
    letters = sorted({letter for word in words for letter in word})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*letters, *(f"##{letter}" for letter in letters), *sorted(words - set(letters))]
    return {piece: number for number, piece in enumerate([*special, *pieces])}


def make_tiny_cross_encoder(folder: Path, seed: int = 0, labels: int = 1) -> Path:
    """A BERT that reads two texts together and gives them a score, or several."""
    torch.manual_seed(seed)
    fast = make_wordpiece_tokenizer()
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=fast.pad_token_id,
        num_labels=labels,
        initializer_range=0.3,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


SHORT_PROMPT = "Passage: {{ passage }}\nType: {{ task_type }}\nTask:\n"
"""A prompt without examples, for a model that has learnt nothing but its form."""


def train_tiny_writer(folder: Path) -> Path:
    """Make a tiny LLM and train it some seconds to write a task and a query in FRet's form about
    the last words of its prompt: the whole path needs an LLM whose output can be parsed."""
    make_tiny_llm(folder, spread=0.05)
    model = LlamaForCausalLM.from_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    words = sorted({word.strip(".,:;") for text in TEXTS for word in text.split()})
    draw = random.Random(1)
    torch.manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(400):
        batch = [
            f"Passage: {draw.choice(TEXTS)[:40]}\nType: {draw.choice(ALL_TASK_TYPES)}\n"
            f"Task: Find it.\nQuery: {' '.join(draw.sample(words, 3))}\n\n"
            for _ in range(16)
        ]
        ids = tokenizer(batch, return_tensors="pt", padding=True)
        labels = ids["input_ids"].masked_fill(ids["attention_mask"] == 0, -100)
        model(input_ids=ids["input_ids"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def write_tiny_recipe(folder: Path, llm: Path, encoder: Path, teacher: Path) -> Path:
    """Everything from corpus to verdict in seconds: many small shards, so that there is much to
    be killed between."""
    pairs = [(a, b) for a in TEXTS for b in TEXTS[:3] if a != b]
    corpus = [{"_id": f"p{i}", "title": "", "text": f"{a} {b}"} for i, (a, b) in enumerate(pairs)]
    _write_jsonl(folder / "corpus.jsonl", corpus)
    mine = folder / "tasks" / "mine"
    (mine / "qrels").mkdir(parents=True)
    _write_jsonl(mine / "corpus.jsonl", corpus)
    queries = [{"_id": f"q{i}", "text": text.split(";")[0]} for i, text in enumerate(TEXTS)]
    _write_jsonl(mine / "queries.jsonl", queries)
    judged = [f"q{TEXTS.index(a)}\tp{i}\t1" for i, (a, _) in enumerate(pairs)]
    header = "query-id\tcorpus-id\tscore"
    (mine / "qrels" / "test.tsv").write_text("\n".join([header, *judged]) + "\n")
    (folder / "short.jinja").write_text(SHORT_PROMPT)
    settings = {
        "name": "tiny",
        "seed": 3,
        "corpus": {"source": "jsonl", "path": str(folder / "corpus.jsonl"), "max_tokens": 40},
        "llm": {"model": str(llm), "dtype": "float32", "device": "cpu"},
        "generate": {
            "prompt": "short.jinja",
            "passages": 24,
            "max_new_tokens": 40,
            "shard_size": 8,
            # The task asks with the passages' own first sentences.
            "filters": {"decontaminate": False},
        },
        "retriever": {"model": str(encoder), "max_tokens": 32, "device": "cpu"},
        "relabel": {"top_k": 4, "rankers": ["ql", "rc", "retriever"], "shard_size": 12},
        "teacher": {"model": str(teacher), "max_tokens": 32, "device": "cpu"},
        "student": {"encoder": str(encoder), "layers": [0, 2], "max_tokens": 32},
        "train": {
            "epochs": 2,
            "batch_size": 4,
            "device": "cpu",
            "checkpoint_steps": 3,
            "objective": {"infonce": 1.0, "align": 1.0},
            "align": {"passages": 12, "sentences": 12, "batch_size": 8},
        },
        "evaluate": {"tasks": ["mine"], "task_data": str(folder / "tasks"), "speed_texts": 8},
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def _write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
