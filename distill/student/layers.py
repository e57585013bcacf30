"""Choose which of an encoder's layers the student keeps."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from distill.errors import UserError


def resize_layers(encoder: PreTrainedModel, layers: Sequence[int]) -> None:
    """Keep only these of an encoder's layers, counted from 0, in place.

    Raises:
        UserError: if there is no such layer, or no list of layers to choose from.
    """
    config = encoder.config
    check_layers(layers, config.num_hidden_layers)
    name, stack = _find_layers(encoder)
    kept = nn.ModuleList(stack[i] for i in layers)
    encoder.set_submodule(name, kept)
    for number, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = number  # type: ignore[assignment]
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in layers]
    config.num_hidden_layers = len(layers)


def check_layers(layers: Sequence[int] | None, count: int) -> None:
    """Refuse a choice of layers that an encoder of `count` layers does not have."""
    if layers is None:
        return
    remedy = f"choose from 0 to {count - 1}, in rising order, or null for all {count}"
    if outside := [i for i in layers if not 0 <= i < count]:
        raise UserError(
            "student.layers", f"no layer {outside[0]}: the encoder has {count} layers", remedy
        )
    if not layers or list(layers) != sorted(set(layers)):
        raise UserError("student.layers", f"{list(layers)} is not a rising choice", remedy)


def _find_layers(encoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Find the outermost list of as many modules as the configuration says there are layers."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == encoder.config.num_hidden_layers:
            return name, module
    raise UserError(
        "student.layers",
        f"a {type(encoder).__name__} has no list of layers to choose from",
        "set student.layers to null, or take a BERT-like encoder",
    )
