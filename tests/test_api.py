"""distill as a library: what `import distill` offers, and what its functions refuse."""

import doctest
import importlib
import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.in_memory import InMemoryLLM, make_in_memory_encoder
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

import distill
from distill import api
from distill.api.devices import check_devices
from distill.errors import UserError
from distill.models.sources import in_memory
from distill.runtime import devices

FOLDERS = ("estimate", "evaluate", "export", "generate", "inspect", "relabel", "report")


def test_import_distill_loads_nothing_large():
    code = (
        "import sys, distill\n"
        "large = {'torch', 'transformers', 'numpy', 'pyarrow', 'pydantic', 'datasets', 'mteb'}\n"
        "assert not large & sys.modules.keys(), large & sys.modules.keys()\n"
        "assert {'run', 'load_recipe', 'evaluate'} <= set(dir(distill))\n"
        "distill.load_recipe(settings={'name': 'x'})\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    assert sorted([*api.__all__, "UserError"]) == sorted([*distill.__all__, "FORMATS"])
    for name in distill.__all__:
        assert callable(getattr(distill, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = distill.nothing


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_with_the_name_of_a_function_is_both(name):
    folder = getattr(distill, name)
    assert folder is importlib.import_module(f"distill.{name}")
    assert folder.__path__
    assert inspect.signature(folder) == inspect.signature(getattr(api, name))


def test_protocols_are_imported_from_their_folders():
    from distill.embed import Embedder, EmbedderPrompts, Encoder
    from distill.llm import LLM, IdentifiedLLM

    assert all((Embedder, EmbedderPrompts, Encoder, LLM, IdentifiedLLM))


def test_package_is_typed():
    assert (Path(distill.__file__).parent / "py.typed").is_file()


PACKAGE = Path(distill.__file__).parent
EXAMPLES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text("utf-8")]


def list_examples() -> Iterator[object]:
    for file in EXAMPLES:
        name = str(file.relative_to(PACKAGE))
        uses_run = "runs/mine" in file.read_text("utf-8")
        yield pytest.param(file, id=name, marks=[pytest.mark.slow] if uses_run else [])


@pytest.fixture
def mine(request, tmp_path, monkeypatch) -> None:
    """A working folder as the examples have it: `mine.yaml`, its run `runs/mine`, its tasks and
    some texts. It is made for those examples alone that are marked as slow."""
    monkeypatch.chdir(tmp_path)
    if request.node.get_closest_marker("slow") is None:
        return
    recipe = request.getfixturevalue("recipe_file")
    shutil.copytree(recipe.parent, tmp_path, dirs_exist_ok=True)
    recipe_here = tmp_path / recipe.name
    recipe_here.rename("mine.yaml")
    shutil.copytree(request.getfixturevalue("whole_run"), tmp_path / "runs" / "mine")
    (tmp_path / "docs").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "docs" / f"{number}.txt").write_text(text)


@pytest.mark.parametrize("file", list_examples())
def test_doctest_examples_run(file, mine):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    name = ".".join(parts).removesuffix(".__init__")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_doctest_example_of_every_public_function():
    functions = (getattr(distill, name) for name in distill.__all__)
    bare = [of.__name__ for of in functions if inspect.isfunction(of) and ">>> " not in of.__doc__]
    assert bare == []


def test_settings_of_a_recipe_are_python_values():
    settings = {"name": "x", "train.stages": [], "corpus.path": Path("my docs.jsonl")}
    recipe = distill.load_recipe(settings=settings)
    assert recipe.corpus.path == "my docs.jsonl"
    with pytest.raises(UserError, match=r"relabel\.negatives_count"):
        distill.load_recipe(settings={"name": "x", "relabel.negatives_count": 4})


@pytest.mark.bad_input("library", "an object that lacks what its protocol has", "refused by name")
def test_object_that_is_no_model_is_refused(recipe_file, tmp_path):
    with pytest.raises(
        UserError, match="the object PosixPath: has no can_compare_verdicts"
    ) as fault:
        distill.generate(recipe_file, tmp_path / "run", llm=Path())
    assert "IdentifiedLLM" in fault.value.remedy
    assert not (tmp_path / "run").exists()


@pytest.mark.bad_input("library", "a folder that is no run", "refused")
def test_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        distill.open_run(tmp_path)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("settings", "steps", "refused"),
    [
        (
            {"train.device": "cuda"},
            ("corpus", "generate", "relabel"),
            ("train_student", "evaluate"),
        ),
        ({"retriever.device": "cuda"}, ("corpus", "generate"), ("relabel", "train_student")),
        ({"llm.device": "cuda"}, ("corpus",), ("generate", "relabel")),
        (
            {"teacher.model": "m", "teacher.device": "cuda"},
            ("generate", "relabel"),
            ("score_teacher", "evaluate"),
        ),
        (
            {"retriever.device": "cuda", "generate.filters.round_trip": 3},
            ("corpus",),
            ("generate",),
        ),
    ],
)
@pytest.mark.bad_input(
    "device", "a device of a later stage that is not there", "the earlier stages' commands run"
)
def test_command_needs_the_devices_of_its_own_stages_alone(no_gpu, settings, steps, refused):
    recipe = distill.load_recipe(settings={"name": "x", **settings})
    for step in steps:
        check_devices(recipe, step)
    for step in refused:
        with pytest.raises(UserError, match="cuda: is not on this machine"):
            check_devices(recipe, step)


@pytest.fixture(scope="module")
def models():
    return {
        "llm": InMemoryLLM(),
        "retriever": make_in_memory_encoder(),
        "teacher": make_in_memory_encoder(2),
    }


@pytest.fixture(scope="module")
def run(recipe_file, tmp_path_factory, models):
    folder = tmp_path_factory.mktemp("library") / "run"
    return distill.run(recipe_file, folder, **models)


@pytest.mark.slow
def test_objects_stand_in_the_place_of_all_models(run, models):
    assert models["llm"].calls
    assert not models["llm"].closed
    assert models["teacher"].embedder.texts
    assert SentenceTransformer(str(run.student)).encode("tides").shape == (32,)
    assert run.summary["models"]["teacher"]["model"] == "object/word-hashes"
    assert 0 < run.summary["models"]["student"]["score"] <= 1
    assert (run.folder / "report.html").is_file()
    assert run.recipe.llm.model.startswith("object:in-memory-")


@pytest.mark.slow
def test_table_is_a_dataset(run):
    examples = run.table("examples")
    assert len(examples) == next(s for s in run.stages if s.name == "examples").manifest["rows"]
    assert {"query", "positive_id", "negative_ids"} <= set(examples.column_names)
    assert examples.cache_files
    assert "judgements-ql" in run.tables
    with pytest.raises(UserError, match=r"this run has: .*passages"):
        run.table("example")


@pytest.mark.slow
def test_run_with_objects_continues_with_equal_ones(run, recipe_file):
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.parquet")}
    llm = InMemoryLLM()
    again = {
        "llm": llm,
        "retriever": make_in_memory_encoder(),
        "teacher": make_in_memory_encoder(2),
    }
    distill.train_student(recipe_file, run.folder, **again)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.parquet")} == before
    assert llm.calls == 0
    other = InMemoryLLM(version=2)
    with pytest.raises(UserError, match="was made with other settings or inputs"):
        distill.generate(recipe_file, run.folder, llm=other, retriever=again["retriever"])


@pytest.mark.slow
def test_run_with_objects_says_that_they_are_missing(run, monkeypatch):
    monkeypatch.setattr(in_memory, "_OBJECTS", {})
    recipe = distill.load_recipe(folder=run)
    with pytest.raises(UserError, match="is an object of the program that began this run"):
        distill.generate(recipe, run)


@pytest.mark.slow
def test_run_with_objects_is_searched_exported_and_estimated(run, tmp_path):
    hits = distill.search(run, "the moon and the sea", k=3).hits
    assert [len(hits[role]) for role in ("student", "teacher")] == [3, 3]
    exported = distill.export(run, tmp_path / "out", ["sentence-transformers"])
    assert "object:word-hashes" in (exported.folder / "README.md").read_text()
    assert exported.commit is None
    before = {path.name for path in Path().iterdir()}
    assert distill.estimate(run.recipe, run, sample=0).lines
    assert {path.name for path in Path().iterdir()} == before
    distill.inspect(run, "queries", rows=1)


@pytest.mark.slow
def test_encoder_is_evaluated_and_compared(run, tmp_path):
    options = {"task_data": run.recipe.evaluate.task_data, "out": tmp_path}
    (score,) = distill.evaluate(make_in_memory_encoder(), ["mine"], **options)
    low, high = score.interval
    assert 0 <= low <= score.score <= high <= 1
    summary = distill.compare(run.student, make_in_memory_encoder(), tasks=["mine"], **options)
    assert summary["models"]["teacher"]["score"] == pytest.approx(score.score, abs=1e-6)
