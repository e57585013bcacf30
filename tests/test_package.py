"""The base imports without any extra, and a missing extra is named."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from distill.errors import UserError, need

ROOT = Path(__file__).parent.parent
EXTRAS = ["faiss", "mteb", "vllm", "ray", "onnx", "onnxruntime"]

INSIDE_VLLM = ["distill.llm.vllm.worker", "distill.llm.vllm.scoring"]
"""What runs in vLLM's child process alone; nothing else imports it."""

IMPORT_ALL = f"""
import importlib, pkgutil, sys
for name in {EXTRAS}:
    sys.modules[name] = None
import distill
for module in pkgutil.walk_packages(distill.__path__, "distill."):
    if module.name not in {INSIDE_VLLM}:
        importlib.import_module(module.name)
from click.testing import CliRunner
from distill.cli import cli
assert CliRunner().invoke(cli, ["--help"]).exit_code == 0
from distill.errors import UserError
from distill.tasks import load_task
try:
    load_task("SciFact")
except UserError as fault:
    print(fault)
"""


@pytest.mark.bad_input("installation", "mteb is not installed", "refused, the extra named")
def test_every_module_imports_without_the_extras():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ".[eval]" in done.stdout


@pytest.mark.bad_input("installation", "an extra that is missing", "refused, with the command")
def test_missing_extra_is_named():
    with pytest.raises(UserError, match=r"absent_module(.|\n)*pip install -e '\.\[gpu\]'"):
        need("absent_module", "gpu")


def list_distributed() -> list[str]:
    """What a source distribution includes, beside pyproject.toml, README.md and the licence."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])


def test_files_that_a_source_distribution_includes_are_there():
    for name in list_distributed():
        assert (ROOT / name).exists()
        assert (ROOT / name).is_file() or any((ROOT / name).iterdir())


def test_source_distribution_has_what_make_check_reads():
    read = {".importlinter", "Makefile", "benchmarks", "distill", "requirements.lock", "tests"}
    assert read <= {*list_distributed()}
