"""Keys that were renamed: refused under the old name, and without effect on runs made before."""

import pytest
import yaml
from helpers.training_by_hand import make_recipe, train_in

from distill.errors import UserError
from distill.recipe import Generate, LanguageModel, Recipe, Teacher, Train, dump_recipe, load_recipe
from distill.recipe.explain import list_known_keys
from distill.recipe.renamed_keys import RENAMED_KEYS, rename_old_keys
from distill.store.run import Run

KIND = "shape of a recipe"


@pytest.mark.bad_input(KIND, "a key under the name of an earlier version", "the new name is given")
@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_renamed_key_is_refused_with_its_row_and_new_name(tmp_path, old, new):
    section, _, key = old.partition(".")
    file = tmp_path / "r.yaml"
    file.write_text(f"name: mine\n{section}:\n  {key}: 2\n")
    with pytest.raises(UserError, match=rf"row 3.*{old} is now called {new}"):
        load_recipe(file)
    with pytest.raises(UserError, match=rf"--set {old}=2.*{new}"):
        load_recipe(None, ["name=mine", f"{old}=2"])


@pytest.mark.bad_input(KIND, "a renamed key in one of train.stages", "the new name is given")
def test_renamed_key_of_a_training_stage_is_refused(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("name: mine\ntrain: {stages: [{name: all, in_batch_off: all}]}")
    with pytest.raises(UserError, match=r"all: in_batch_off: .*train\.no_in_batch_negatives"):
        load_recipe(file)


def test_renamed_keys_exist_under_their_new_names_alone():
    keys = set(list_known_keys(Recipe))
    assert keys.issuperset(RENAMED_KEYS.values())
    assert keys.isdisjoint(RENAMED_KEYS)


@pytest.mark.parametrize(
    ("section", "name", "old", "value"),
    [
        (Generate, "example_sets", "hands", 2),
        (LanguageModel, "prompt_format", "form", "chat"),
        (Teacher, "additional_models", "also", ["a/b"]),
        (Train, "no_in_batch_negatives", "in_batch_off", "all"),
    ],
)
def test_renamed_key_has_its_old_name_in_fingerprints(section, name, old, value):
    settings = section(**{name: value}).list_fingerprinted()
    assert settings[old] == value
    assert name not in settings


def test_renamed_keys_are_read_in_the_recipe_of_a_run(tmp_path):
    recipe = load_recipe(
        None,
        [
            "name=mine",
            "generate.example_sets=2",
            "train.stages=[{name: all, no_in_batch_negatives: all}]",
            "ablation.arms={a: {train.no_in_batch_negatives: all}}",
        ],
    )
    old = dump_recipe(recipe)
    for before, now in RENAMED_KEYS.items():
        section = f"{before.partition('.')[0]}."
        old = old.replace(now.removeprefix(section), before.removeprefix(section))
    assert "hands: 2" in old
    assert "example_sets" not in old
    with Run(tmp_path) as run:
        run.open_stage("passages", {}).finish()
    (tmp_path / "recipe.yaml").write_text(old)
    assert dump_recipe(load_recipe(tmp_path / "recipe.yaml")) == dump_recipe(recipe)


def test_malformed_recipe_survives_the_renaming():
    values = yaml.safe_load("generate: 3\ntrain: {stages: [1]}\nablation: {arms: {a: 2}}\nllm:")
    rename_old_keys(values)
    assert values == yaml.safe_load(
        "generate: 3\ntrain: {stages: [1]}\nablation: {arms: {a: 2}}\nllm:"
    )


def test_run_made_under_an_old_key_continues(tmp_path, encoder_folder):
    """The manifest holds the key's first name, so the student is complete and not trained again."""
    recipe = make_recipe(encoder_folder, train={"no_in_batch_negatives": "all", "epochs": 1})
    stage = train_in(tmp_path / "run", recipe)
    settings = stage.manifest["settings"]["train"]["train"]
    assert settings["in_batch_off"] == "all"
    made = stage.manifest["seconds"]
    assert train_in(tmp_path / "run", recipe).manifest["seconds"] == made
