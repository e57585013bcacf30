"""Low-rank adaptation (arXiv 2106.09685) of the transformer, by peft."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from sentence_transformers import SentenceTransformer
from torch import nn

from distill.errors import UserError
from distill.recipe.sections.student import Lora
from distill.student.base_model import get_first_transformer, reload_transformer


def add_lora(
    model: SentenceTransformer, lora: Lora, seed: int, base: torch.dtype = torch.float32
) -> None:
    """Freeze the transformer and put trained matrices beside its linear layers, in place. What
    comes after it (a dense layer, latent attention) is trained as ever. The vectors stay what they
    were.

    Args:
        base: of the frozen weights. What is trained is float32, and so is what the transformer
            gives to the modules behind it.

    Raises:
        UserError: if the transformer has none of the layers named.
    """
    transformer = get_first_transformer(model).model
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.targets is None else lora.targets,
        # BERT's own head is not what is pooled.
        exclude_modules=["pooler.dense"] if getattr(transformer, "pooler", None) else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            transformer.add_adapter(config)
        except ValueError as fault:
            raise UserError(
                f"student.lora.targets {lora.targets}",
                f"cannot be adapted in a {type(transformer).__name__}: {fault}",
                "name linear layers, such as q_proj and v_proj, or null for all",
            ) from fault
    if base != torch.float32:
        for weight in transformer.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(base)
        get_first_transformer(model).register_forward_hook(_convert_to_float32)
    # An adapter's file names the model that it is for.
    config.base_model_name_or_path = str(Path(str(transformer.name_or_path)).resolve())


def _convert_to_float32(_: nn.Module, __: Any, features: dict[str, Any]) -> dict[str, Any]:
    return features | {"token_embeddings": features["token_embeddings"].float()}


def finish_lora(model: SentenceTransformer, lora: Lora) -> None:
    """Make, after training, `merged` matrices part of the layers, in place, so that the model is an
    ordinary one. An adapter stays what it is, and saves as such, over the base as it is loaded."""
    transformer = get_first_transformer(model).model
    rounded = any(weight.dtype != torch.float32 for weight in transformer.parameters())
    transformer.float()
    if lora.save == "adapter":
        if rounded:
            _restore_base(transformer)
        return
    for name, module in list(transformer.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            transformer.set_submodule(name, module.get_base_layer())
    transformer._hf_peft_config_loaded = False
    del transformer.peft_config
    for weight in transformer.parameters():
        weight.requires_grad_(True)


@torch.no_grad()
def _restore_base(transformer: Any) -> None:
    """Give the frozen weights back what training had rounded of them: an adapter is loaded over the
    base's own."""
    config = next(iter(transformer.peft_config.values()))
    base = reload_transformer(Path(config.base_model_name_or_path)).model.state_dict()
    for name, weight in transformer.named_parameters():
        if not weight.requires_grad:
            weight.copy_(base[name.replace(".base_layer", "")])
