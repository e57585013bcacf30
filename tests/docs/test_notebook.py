"""The notebook of the documentation is carried out, cell after cell, with tiny models in the place
of those that it names."""

import json
from pathlib import Path
from typing import Any

import pytest

from .markdown import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "library.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in read if cell["cell_type"] == "code"]


def test_notebook_has_ten_cells_without_outputs(cells):
    assert len(cells) == 10
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.mark.slow
def test_notebook_runs(
    cells, recipe_file, writer_folder, encoder_folder, teacher_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    parameters = {
        "LLM": str(writer_folder),
        "ENCODER": str(encoder_folder),
        "TEACHER": str(teacher_folder),
        "SETTINGS": {
            "generate.prompt": str(recipe_file.parent / "short.jinja"),
            "generate.filters.decontaminate": False,
            "student.layers": [0, 2],
            "student.max_tokens": 32,
            "retriever.max_tokens": 32,
            "teacher.max_tokens": 32,
            "train.epochs": 1,
        },
    }
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
    assert (tmp_path / "runs" / "notebook" / "student" / "model.safetensors").is_file()
    assert (tmp_path / "exports" / "notebook" / "onnx" / "embedding_int8.onnx").is_file()
    assert set(names["summary"]["models"]) >= {"base", "student", "teacher", "bm25"}
    printed = capsys.readouterr().out
    assert any(text in printed for text in names["TEXTS"])
    assert "relabel.negative_count" in printed


def test_notebook_is_linked_from_the_page_on_python():
    page = (Path(ROOT) / "docs" / "guides" / "python.md").read_text(encoding="utf-8")
    assert "../notebooks/library.ipynb" in page
