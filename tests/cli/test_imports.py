"""Which libraries commands import: a typing error must not cost a minute, nor a search what an
evaluation needs."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

_LARGE = [
    "torch",
    "transformers",
    "sentence_transformers",
    "sklearn",
    "scipy",
    "datasets",
    "mteb",
    "httpx",
]
_SCRIPT = """
import json, sys
from distill.cli import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
else:
    code = 0
print(json.dumps({"code": code, "large": [name for name in %r if name in sys.modules]}))
"""


def run_command(*arguments):
    """Exit code, and those of the large libraries that the command imported."""
    command = [sys.executable, "-c", _SCRIPT % _LARGE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return result["code"], result["large"], done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    """A run whose corpus is read."""
    rows = [{"_id": str(n), "text": f"The {n}th of some rather short texts."} for n in range(20)]
    (tmp_path / "docs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    settings = ["--run", tmp_path / "run", "--path", tmp_path / "docs.jsonl"]
    code, large, said = run_command("corpus", *settings)
    assert (code, large) == (0, []), said
    return tmp_path / "run"


def test_corpus_and_inspect_import_no_large_library(folder):
    for arguments in (["inspect", folder], ["inspect", folder, "passages"]):
        code, large, said = run_command(*arguments)
        assert (code, large) == (0, []), said


def test_commands_that_are_refused_at_once_import_no_large_library(folder):
    for arguments in (
        ["search", folder, "some text"],  # has no student
        ["run", folder / "none.yaml"],
        ["trian"],
    ):
        code, large, said = run_command(*arguments)
        assert (code, large) == (2, []), said


def test_check_of_a_recipe_without_an_llm_imports_nothing_that_computes(folder, encoder_folder):
    recipe = {
        "name": "mine",
        "corpus": {"path": str(folder.parent / "docs.jsonl")},
        "generate": {"methods": ["sentences"]},
        "retriever": {"model": str(encoder_folder)},
        "relabel": {"rankers": ["retriever"], "positive": "seed"},
        "student": {"encoder": str(encoder_folder)},
    }
    file = folder.parent / "mine.yaml"
    file.write_text(json.dumps(recipe))
    code, large, said = run_command("check", file)
    assert code == 0, said
    assert not {"torch", "transformers", "sentence_transformers"} & {*large}


def test_search_imports_no_library_of_evaluations_or_servers(
    folder, encoder_folder, teacher_folder, monkeypatch
):
    monkeypatch.setenv("DISTILL_CACHE", str(folder.parent / "cache"))
    shutil.copytree(encoder_folder, folder / "student")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    # mteb knows its prompts, and is asked for them by the first search alone.
    recipe["teacher"] |= {"model": str(teacher_folder), "known_as": "intfloat/e5-base-v2"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, large, said = run_command("search", folder, "a short text")
    assert (code, "mteb" in large) == (0, True), said
    code, large, said = run_command("search", folder, "a short text")
    assert (code, "torch" in large) == (0, True), said
    assert not {"mteb", "httpx"} & {*large}
