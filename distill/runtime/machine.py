"""Describe this machine in words: a speed means nothing without it."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

_GIB = 1 << 30


def describe_machine() -> dict[str, Any]:
    """Describe the system, the processor, its cores that this process may use, the memory in GiB,
    and the GPUs where torch is in use; no name of the machine or of its user."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _read_processor(),
        "cores": _count_cores(),
        "memory_gib": _measure_memory(),
        "gpus": _list_gpus(),
    }


def format_machine(machine: dict[str, Any]) -> str:
    """Format what `describe_machine` gives as one line: "2 cores of AMD EPYC, 16 GiB, Linux"."""
    cores = machine["cores"]
    parts = [
        *_count_equal(machine["gpus"]),
        f"{cores} core{'s' if cores != 1 else ''} of {machine['processor']}",
        f"{machine['memory_gib']} GiB" if machine["memory_gib"] else "",
        machine["system"],
    ]
    return ", ".join(part for part in parts if part)


def _count_equal(names: list[str]) -> list[str]:
    return [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]


def _read_processor() -> str:
    """Read the processor's name; of one whose name the system hides, its architecture."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text("utf-8", "replace").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip() not in ("", "unknown"):
                return " ".join(name.split())
    return platform.processor() or platform.machine()


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _measure_memory() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB)


def _list_gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
