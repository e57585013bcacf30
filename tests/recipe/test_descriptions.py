"""Every key of the recipe has a description that can be read alone."""

from pathlib import Path

import pytest

from distill.recipe import Recipe, dump_recipe, load_recipe
from distill.recipe.explain import list_known_keys
from distill.recipe.reference import find_key, write_commented_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("key", list_known_keys(Recipe))
def test_description_stands_alone(key):
    text = find_key(key).get("description", "")
    assert len(text.split()) >= 3, text
    assert text.endswith(".")
    assert text[0].isupper()
    assert text.split()[0] not in {"Of", "And", "Such", "So", "By", "With", "Against"}


def test_json_schema_holds_every_key_of_every_section():
    schema = Recipe.model_json_schema()
    described = [
        name
        for section in (schema, *schema["$defs"].values())
        for name, key in section["properties"].items()
        if "description" in key
    ]
    assert {key.rpartition(".")[2] for key in list_known_keys(Recipe)} == set(described)


def test_descriptions_are_no_part_of_what_a_run_stores():
    recipe = Recipe(name="mine")
    text = find_key("train.soup")["description"]
    assert text not in dump_recipe(recipe)
    assert text not in str(recipe.train.list_fingerprinted())


@pytest.mark.parametrize("name", ["demo", "nv-embed", "e5-mistral", "adapt"])
def test_resolved_recipe_explains_its_keys_and_reads_back_as_it_was(tmp_path, name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    file = tmp_path / "resolved.yaml"
    file.write_text(write_commented_recipe(recipe), encoding="utf-8")
    assert load_recipe(file).model_dump() == recipe.model_dump()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[lines.index(f"  rrf_k: {recipe.relabel.rrf_k}") - 1].startswith("  # ")
