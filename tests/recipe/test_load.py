"""Recipes: defaults < file < flags, and what is wrong is said."""

import re
from pathlib import Path

import pytest

from distill.errors import UserError
from distill.recipe import dump_recipe, load_recipe
from distill.recipe.packaged import get_packaged_folder


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text)
    return path


def test_defaults_then_file_then_flags(tmp_path):
    file = write(tmp_path, "name: mine\nrelabel: {top_k: 7, rrf_k: 60}")
    recipe = load_recipe(file, ["relabel.top_k=9", "student.layers=[0, 2]"])
    assert recipe.relabel.top_k == 9
    assert recipe.relabel.rrf_k == 60
    assert recipe.student.layers == [0, 2]
    assert recipe.relabel.negative_count == 1


@pytest.mark.bad_input("shape of a recipe", "an unknown key", "refused, the nearest named")
def test_unknown_key_names_the_nearest_known_one(tmp_path):
    file = write(tmp_path, "name: mine\nrelabel: {topk: 7}")
    with pytest.raises(UserError, match=r"r\.yaml.*relabel\.topk.*'relabel\.top_k'"):
        load_recipe(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: mine\nrelabel: {top_k: many}", "relabel.top_k"),
        ("name: mine\nrelabel: {rankers: [bm52]}", "relabel.rankers"),
        ("relabel: {}", "name"),
        ("name: mine\nstudent: {query_template: '{query}?'}", "must end in"),
        ("name: mine\ntrain: {objective: {align: 1}}", "teacher.model"),
        (
            "name: mine\nstudent: {lora: {rank: 2}}\ntrain: {embedding_learning_rate: 0.001}",
            "student.lora leaves the token vectors as they are",
        ),
        ("name: mine\nevaluate: {tasks: [held-out]}", "corpus.held_out"),
        ("- a list", "not a mapping"),
        ("name: [", "not YAML"),
    ],
)
def test_faults_of_a_recipe_are_named(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as fault:
        load_recipe(write(tmp_path, text))
    assert "r.yaml" in str(fault.value)


@pytest.mark.bad_input("path", "a recipe that is not there", "refused")
def test_missing_recipe(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_recipe(tmp_path / "absent.yaml")


def test_unset_variable_falls_back_to_null(tmp_path, monkeypatch):
    file = write(tmp_path, "name: mine\ncorpus: {path: '${DISTILL_DATA}/x', dataset: a/b}")
    monkeypatch.delenv("DISTILL_DATA", raising=False)
    assert load_recipe(file).corpus.path is None
    monkeypatch.setenv("DISTILL_DATA", "/data")
    assert load_recipe(file).corpus.path == "/data/x"


@pytest.mark.bad_input("environment", "a store in a variable that is not set", "refused by name")
def test_store_whose_variable_is_not_set_is_not_left_out(tmp_path, monkeypatch):
    file = write(tmp_path, "name: mine\nstore: '${BUCKET}/runs'")
    monkeypatch.delenv("BUCKET", raising=False)
    with pytest.raises(UserError, match="store names the variable BUCKET, which is not set"):
        load_recipe(file)
    monkeypatch.setenv("BUCKET", "s3://ours")
    assert load_recipe(file).store == "s3://ours/runs"


def test_resolved_recipe_reads_back_as_itself(tmp_path):
    recipe = load_recipe(write(tmp_path, "name: mine\nstudent: {layers: [0, 5]}"))
    again = load_recipe(write(tmp_path, dump_recipe(recipe)))
    assert again == recipe


@pytest.mark.parametrize("file", sorted(get_packaged_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_that_comes_with_distill_is_valid(file):
    assert load_recipe(file).name == file.stem


_OF_OWN_CODE = re.compile(
    r"gte-(base|large)-en-v1\.5|gte-multilingual-base|nomic-embed|jina-embeddings-v[23]|stella_en"
    r"|arctic-embed-m-(long|v2)|llm2vec|gritlm",
    re.IGNORECASE,
)
"""Names of published embedders that load with code of their repositories alone."""


@pytest.mark.parametrize("file", sorted(get_packaged_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_no_recipe_that_comes_with_distill_names_a_model_of_own_code(file):
    """Such code is never run: the recipe would end where it opens the model."""
    recipe = load_recipe(file)
    names = [recipe.retriever.model, recipe.teacher.model or "", recipe.student.encoder]
    assert not [name for name in names if _OF_OWN_CODE.search(name)]
