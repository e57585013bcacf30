"""What a GPU does that no input is to blame for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distill.errors import EngineFailure


@contextmanager
def device_faults(where: str) -> Iterator[None]:
    """A fault of CUDA (not a lack of memory) as what it is: after it this process can compute
    nothing on its GPU any more.

    Raises:
        EngineFailure: in the place of torch's error.
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
