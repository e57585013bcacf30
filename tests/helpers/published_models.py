"""Tiny models of the configurations of published embedders: random weights, real files."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    MistralConfig,
    MistralModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
)

from helpers.tiny_models import make_tiny_llm

WIDTH, LATENTS, HEADS = 32, 6, 2
_SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def make_tiny_tokenizer(folder: Path, begins: bool = False) -> PreTrainedTokenizerFast:
    """Without a post-processor, or with one that puts <s> before each text alone, as Mistral's."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        make_tiny_llm(folder.with_name("tokenizer"))
    )
    if begins:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B:1", special_tokens=[("<s>", 0)]
        )
    return tokenizer


def make_gte_qwen2(folder: Path, code: str = "modeling_qwen.Qwen2Model") -> Path:
    """As Alibaba-NLP/gte-Qwen2-7B-instruct: code of its own, no word of attention, an end of
    sequence that a tokenizer of its own appends, the last token pooled."""
    torch.manual_seed(0)
    tokenizer = make_tiny_tokenizer(folder)
    bare = folder.with_name("bare")
    Qwen2Model(Qwen2Config(vocab_size=len(tokenizer), **_SHAPE)).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    _save(bare, folder, "lasttoken")
    edit_json(folder / "config.json", auto_map={"AutoModel": code})
    return folder


def make_e5_mistral(folder: Path) -> Path:
    """As intfloat/e5-mistral-7b-instruct: causal, `add_eos_token` declared, prompts by task."""
    torch.manual_seed(0)
    tokenizer = make_tiny_tokenizer(folder, begins=True)
    bare = folder.with_name("bare")
    MistralModel(MistralConfig(vocab_size=len(tokenizer), **_SHAPE)).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    prompts = {
        "web_search_query": "Instruct: Given a web search query, retrieve passages\nQuery: ",
        "sts_query": "Instruct: Retrieve semantically similar text.\nQuery: ",
    }
    _save(bare, folder, "lasttoken", prompts)
    edit_json(folder / "tokenizer_config.json", add_eos_token=True)
    return folder


def _save(bare: Path, folder: Path, pooling: str, prompts: dict[str, str] | None = None) -> None:
    transformer = Transformer(str(bare), max_seq_length=64)
    modules = [transformer, Pooling(WIDTH, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=modules, prompts=prompts).save_pretrained(str(folder))


class ReleasedLatentAttention(nn.Module):
    """The published computation in the published names, written down from its description: the
    states look up trained latents, a gated MLP follows, both behind norms and with residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(LATENTS, WIDTH))
        attention, mlp = nn.Module(), nn.Module()
        attention.to_q = nn.Linear(WIDTH, HEADS * WIDTH, bias=False)
        attention.to_kv = nn.Linear(WIDTH, 2 * HEADS * WIDTH, bias=False)
        attention.to_out = nn.Linear(HEADS * WIDTH, WIDTH, bias=False)
        mlp.net = nn.Sequential(
            nn.Linear(WIDTH, 8 * WIDTH), nn.Identity(), nn.Linear(4 * WIDTH, WIDTH)
        )
        self.cross_attend_blocks = nn.ModuleList([nn.Module(), nn.Module()])
        first, second = self.cross_attend_blocks
        first.fn, first.norm, first.norm_context = (
            attention,
            nn.LayerNorm(WIDTH),
            nn.LayerNorm(WIDTH),
        )
        second.fn, second.norm = mlp, nn.LayerNorm(WIDTH)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(tokens, width) to the same."""
        first, second = self.cross_attend_blocks
        context = first.norm_context(self.latents)
        queries = first.fn.to_q(first.norm(states)).view(-1, HEADS, WIDTH)
        keys, values = first.fn.to_kv(context).chunk(2, dim=-1)
        keys, values = keys.view(-1, HEADS, WIDTH), values.view(-1, HEADS, WIDTH)
        weights = torch.einsum("thd,lhd->htl", queries, keys) / WIDTH**0.5
        found = torch.einsum("htl,lhd->thd", weights.softmax(-1), values).flatten(1)
        states = states + first.fn.to_out(found)
        value, gate = second.fn.net[0](second.norm(states)).chunk(2, dim=-1)
        return states + second.fn.net[2](value * nn.functional.gelu(gate))


def make_nv_embed(
    folder: Path,
) -> tuple[MistralModel, ReleasedLatentAttention, PreTrainedTokenizerFast]:
    """As nvidia/NV-Embed-v2 lies on the hub, in two files; and its parts."""
    torch.manual_seed(0)
    folder.mkdir()
    tokenizer = make_tiny_tokenizer(folder, begins=True)
    # A window of three tokens, which the released class does not heed.
    config = MistralConfig(vocab_size=len(tokenizer), sliding_window=3, **_SHAPE)
    transformer, attention = MistralModel(config), ReleasedLatentAttention()
    tensors = {f"embedding_model.{k}": v.clone() for k, v in transformer.state_dict().items()}
    tensors |= {f"latent_attention_model.{k}": v.clone() for k, v in attention.state_dict().items()}
    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = folder / f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, file, {"format": "pt"})
    text = json.loads(config.to_json_string()) | {
        "model_type": "bidir_mistral",
        "architectures": ["BidirectionalMistralModel"],
        "_name_or_path": "nvidia/NV-Embed-v2",
    }
    latent = {
        "model_type": "latent_attention",
        "num_latents_value": LATENTS,
        "num_cross_heads": HEADS,
        "output_normalize": True,
        "hidden_dim": WIDTH,
        "latent_dim": WIDTH,
        "cross_dim_head": WIDTH,
    }
    whole = {
        "model_type": "nvembed",
        "architectures": ["NVEmbedModel"],
        "auto_map": {"AutoModel": "modeling_nvembed.NVEmbedModel"},
        "padding_side": "right",
        "is_mask_instruction": True,
        "add_eos": True,
        "text_config": text,
        "latent_attention_config": latent,
    }
    (folder / "config.json").write_text(json.dumps(whole))
    tokenizer.save_pretrained(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return transformer.eval(), attention.eval(), tokenizer
