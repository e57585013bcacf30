"""The packaged recipes of query encoders."""

from pathlib import Path

import numpy as np
import pytest

import distill
from distill.files.atomic import read_json
from distill.recipe import load_recipe

SMALL = [
    *("corpus.limit=60", "corpus.held_out=0.02", "generate.free.queries=60"),
    "evaluate.speed_texts=8",
]
"""A share of the packaged recipes' data."""


@pytest.mark.slow
def test_packaged_recipe_of_a_query_side_takes_its_vectors_from_a_file(tmp_path):
    """The vectors of the first run, as the file that a user brings to the second."""
    path = Path(__file__).parents[2] / "recipes" / "query-side-tiny.yaml"
    first = distill.run(load_recipe(path, SMALL), tmp_path / "first")
    assert first.summary["models"]["student"]["score"] > 0.5
    distill.export_index(first, tmp_path / "index", force=True)
    np.save(tmp_path / "mine.npy", np.load(tmp_path / "index" / "vectors.npy"))
    ids = read_json(tmp_path / "index" / "ids.json")
    (tmp_path / "mine.txt").write_text("\n".join(ids), encoding="utf-8")
    mine = f"teacher.document_vectors={tmp_path / 'mine.npy'}"
    sets = [*SMALL, mine, "evaluate.tasks=[]"]
    second = distill.run(load_recipe(path, sets), tmp_path / "second")
    weights = [run.student / "query_0_Transformer" / "model.safetensors" for run in (first, second)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_packaged_recipe_of_a_query_side_is_valid():
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "query-side.yaml")
    assert recipe.teacher.document_vectors is not None
    assert recipe.student.dimensions == 3072


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt-tiny", "adapt-static-tiny"])
def test_packaged_recipe_runs_from_the_corpus_to_the_report_without_an_llm(tmp_path, name):
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / f"{name}.yaml", SMALL)
    result = distill.run(recipe, tmp_path / "run")
    assert {"student", "teacher", "base"} <= result.summary["models"].keys()
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (tmp_path / "run" / "generations").exists()
