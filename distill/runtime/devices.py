"""Choose the device that computes and its native precision, and free its memory."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distill.errors import EngineFailure, UserError

CPU_BATCH_TOKENS = 1024
"""Tokens that a CPU computes at once. More do not fit its caches: an encoder took twice as long
with 8,192 on two cores."""
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def choose_device() -> str:
    """Return the GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_device(device: str | None) -> bool:
    """Return whether this machine has a device. None stands for the best one."""
    name, _, number = (device or "cpu").partition(":")
    return (not number or number.isdecimal()) and int(number or 0) < _count_devices().get(name, 0)


def _count_devices() -> dict[str, int]:
    """Count this machine's devices of each kind."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"cpu": 1, "cuda": gpus, "mps": int(torch.backends.mps.is_available())}


def check_device(device: str | None, key: str, or_else: str = "") -> None:
    """Refuse a device that this machine does not have, before anything is computed. None stands for
    the best one.

    Args:
        key: what the setting is called, such as llm.device.
        or_else: another remedy, in words.

    Raises:
        UserError: naming the devices that are there.
    """
    if has_device(device):
        return
    there = _count_devices()
    have = ["cpu", *(f"cuda:{n}" for n in range(there["cuda"])), *["mps"] * there["mps"]]
    raise UserError(
        f"{key} {device}",
        "is not on this machine",
        f"here there is {', '.join(have)}; leave {key} out for the best of them{or_else}",
    )


def count_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measure_memory() -> int:
    """Measure this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def find_gpu() -> tuple[str, int] | None:
    """Find the first GPU: its name and its memory in bytes; None where there is none."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return properties.name, properties.total_memory


def is_half_of_gpu_free() -> bool:
    """Return whether half of the GPU's memory is free, or more. False where there is no GPU: the
    memory of a machine is shared with processes that may need it in a moment."""
    if not torch.cuda.is_available():
        return False
    free_memory()  # which torch has reserved, and which counts as taken
    free, total = torch.cuda.mem_get_info()
    return 2 * free >= total


def free_memory() -> None:
    """Free the memory of unused models: torch keeps what it has reserved on a GPU, where an engine
    in another process could not use it."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def free_gpu_memory() -> None:
    """Free the memory of unused models where a GPU is in use. sentence-transformers' models are in
    a cycle with their model cards: one that nobody holds any more stays until Python looks for
    cycles, which may be hours, and on a GPU the next model is then loaded beside it."""
    if torch.cuda.is_initialized():
        free_memory()


@contextmanager
def compute_in_float32() -> Iterator[None]:
    """Have products of float32 tensors computed in float32, whatever the environment says: TF32
    keeps 10 bits of a number. NVIDIA's containers switch it on (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE).
    """
    matmul = torch.backends.cuda.matmul
    # Since 2.9 there are two interfaces, and reading one of them fails where only the other was
    # set.
    newer = getattr(matmul, "fp32_precision", None)
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        before = "highest"
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        if newer is not None:
            matmul.fp32_precision = newer


def get_torch_dtype(name: str, device: str) -> torch.dtype:
    """Return torch's dtype. `auto` is bfloat16 if the device computes it natively: elsewhere it is
    slower than float32."""
    if name != "auto":
        return DTYPES[name]
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


@contextmanager
def raise_device_faults(where: str) -> Iterator[None]:
    """Turn a fault of CUDA (other than a lack of memory) into an engine failure: after it this
    process can compute nothing on its GPU any more.

    Raises:
        EngineFailure: which replaces torch's error.
    """
    try:
        yield
    except torch.AcceleratorError as fault:
        first = str(fault).partition("\n")[0]
        raise EngineFailure(
            where,
            f"its GPU failed: {first}",
            "run the same command again; if it happens again, look at the GPU (nvidia-smi, dmesg)",
        ) from fault
