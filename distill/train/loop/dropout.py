"""How much of a transformer's inner states is dropped at random in training."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_OF_ATTENTION = "attention_dropout"  # some attentions read a number in place of a module


@contextmanager
def dropout(model: nn.Module, rate: float | None) -> Iterator[None]:
    """This rate everywhere but in LoRA's matrices, which have their own; as it was afterwards.

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
