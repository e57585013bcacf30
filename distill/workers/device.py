"""The device that a worker computes on."""


def describe_device() -> str:
    """Describe what decides the last digits of a model's results: the GPU, or the instructions of
    the processor that torch uses."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}"
