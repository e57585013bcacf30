"""A second device for machines without a GPU, as strict as one. Its tensors are computed by the
CPU, but an operation that mixes them with tensors of the CPU is refused, numpy reads none of them,
and its random numbers are its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "simulated:0"
_KIND = "simulated"
_MAY_MIX = {"aten::_to_copy", "aten::copy_", "aten::index", "aten::index_put_"}
_MAY_MIX |= {"aten::index_put", "aten::_index_put_impl_"}
"""Operations that CUDA takes with tensors of the CPU too: copies, and indices."""


_LIBRARIES: list[torch.library.Library] = []
"""What is registered holds as long as its library lives."""


class SimulatedTensor(torch.Tensor):
    """A tensor of the simulated device: `raw` holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "SimulatedTensor":
        with torch.inference_mode(False):
            return torch.Tensor._make_wrapper_subclass(
                cls,
                raw.size(),
                strides=raw.stride(),
                storage_offset=raw.storage_offset(),
                dtype=raw.dtype,
                layout=raw.layout,
                device=torch.device(NAME),
            )

    def __init__(self, raw: torch.Tensor) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"SimulatedTensor({self.raw})"

    def tolist(self) -> Any:
        return self.raw.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _compute(function, args, kwargs or {})


class _Module(backend_registration._DummyBackendModule):
    """What torch asks a device's module for, as `torch.cuda`."""

    _initialized = True

    def __init__(self) -> None:
        self.state = torch.Generator().manual_seed(0).get_state()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: object = None) -> torch.Tensor:
        return self.state.clone()

    def set_rng_state(self, state: torch.Tensor, device: object = None) -> None:
        self.state = state.clone()

    def manual_seed_all(self, seed: int) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()

    def device(self, number: int) -> Any:
        return torch.device(_KIND, number)


@cache
def _register() -> _Module:
    module = _Module()
    backend_registration._setup_privateuseone_for_python_backend(_KIND, backend_module=module)
    # Autocast takes no part here: it would choose other kernels than the CPU has.
    library = torch.library.Library("_", "IMPL")
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _LIBRARIES.append(library)
    return module


@contextmanager
def simulate_device() -> Iterator[str]:
    """Make the device usable for a while; its name."""
    _register()
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Functions(), _Dispatch():
            yield NAME
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _is_simulated(device: object) -> bool:
    return device is not None and torch.device(device).type == _KIND  # type: ignore[call-overload]


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation on the CPU, as if on the device of its tensors."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [x for x in tensors if isinstance(x, SimulatedTensor)]
    elsewhere = [x for x in tensors if not isinstance(x, SimulatedTensor) and x.ndim]
    name = function._schema.name
    if there and elsewhere and name not in _MAY_MIX:
        raise RuntimeError(f"{function}: tensors on two devices, {there} and {elsewhere}")
    device = kwargs.get("device")
    stays = bool(there) if device is None else _is_simulated(device)
    if name == "aten::copy_":
        stays = isinstance(args[0], SimulatedTensor)
    raw = {k: v for k, v in tree_map(_unwrap, kwargs).items() if k != "pin_memory"}
    with _draw_on_device(function, stays):
        result = function(*tree_map(_unwrap, args), **raw)
    if not stays:  # a copy, never the same memory
        return tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, result)
    result = tree_map(lambda x: SimulatedTensor(x) if isinstance(x, torch.Tensor) else x, result)
    if function._schema.is_mutable:
        return return_and_correct_aliasing(function, args, kwargs, result)
    return result


@contextmanager
def _draw_on_device(function: Any, stays: bool) -> Iterator[None]:
    """Let an operation that draws at random use the device's numbers."""
    if not stays or torch.Tag.nondeterministic_seeded not in function.tags:
        yield
        return
    module, before = _register(), torch.get_rng_state()
    torch.set_rng_state(module.state)
    try:
        yield
    finally:
        module.state = torch.get_rng_state()
        torch.set_rng_state(before)


def _unwrap(value: Any) -> Any:
    if isinstance(value, SimulatedTensor):
        return value.raw
    return torch.device("cpu") if isinstance(value, torch.device) else value


class _Dispatch(TorchDispatchMode):
    """Takes the operations that make a tensor on the device, or read one."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        there = any(isinstance(x, SimulatedTensor) for x in tree_leaves((args, kwargs)))
        if there or _is_simulated(kwargs.get("device")):
            return _compute(function, args, kwargs)
        return function(*args, **kwargs)


class _Functions(TorchFunctionMode):
    """Takes what torch does without an operation: making tensors of lists."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and _is_simulated(kwargs.get("device")):
            rest = {name: value for name, value in kwargs.items() if name != "device"}
            return function(*args, **rest).to(NAME)
        if function is torch.Tensor.new_tensor and isinstance(args[0], SimulatedTensor):
            return args[0].raw.new_tensor(*args[1:], **kwargs).to(NAME)
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(
                torch.tensor(list(i)) if isinstance(i, list | range) else i for i in index
            )
            args = (args[0], index, *args[2:])
        return function(*args, **kwargs)
