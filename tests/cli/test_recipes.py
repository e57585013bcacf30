"""`distill explain` and `distill recipes`, as a person calls them."""

import json

import pytest
import yaml
from helpers.fresh_process import run_distill
from jsonschema import Draft202012Validator

from distill.recipe import Train
from distill.recipe.packaged import get_packaged_folder, list_recipes
from distill.recipe.reference import write_json_schema


def words(text: str) -> str:
    """Without the line breaks of wrapped text."""
    return " ".join(text.split())


def test_explain_a_key():
    done = run_distill("explain", "train.soup")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("train.soup\n    type: integer\n    default: 1\n")
    assert "allowed: above 0" in done.stdout
    assert str(Train.model_fields["soup"].description).split("\n")[0][:60] in words(done.stdout)


def read_schema():
    done = run_distill("explain", "--json-schema")
    assert done.returncode == 0, done.stderr
    return Draft202012Validator(json.loads(done.stdout))


def test_json_schema_takes_the_packaged_recipes_and_describes_keys():
    schema = read_schema()
    for name, _ in list_recipes():
        values = yaml.safe_load((get_packaged_folder() / f"{name}.yaml").read_text())
        assert [fault.message for fault in schema.iter_errors(values)] == [], name
    assert schema.is_valid({"name": "mine", "execution": "ray"})
    assert schema.is_valid({"name": "mine", "execution": {"mode": "ray"}})
    section = schema.schema["$defs"]["Train"]["properties"]
    assert section["soup"]["description"] == Train.model_fields["soup"].description


@pytest.mark.parametrize(
    "wrong", [{"train": {"soop": 1}}, {"train": {"epochs": 0}}, {"execution": "rai"}, {"nme": "x"}]
)
def test_json_schema_marks_what_a_recipe_may_not_hold(wrong):
    schema = Draft202012Validator(json.loads(write_json_schema()))
    assert not schema.is_valid({"name": "mine", **wrong})


def test_json_schema_of_a_single_key_is_refused():
    done = run_distill("explain", "train.soup", "--json-schema")
    assert done.returncode == 2
    assert "leave KEY out" in done.stderr


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("corpus.source", "allowed: auto, beir, jsonl, parquet, dataset, docstrings"),
        ("relabel.weights", "allowed: ql, rc, graded, listwise, cross_encoder, bm25, retriever"),
        ("relabel.negative_range", "type: list of integer, integer default: [11, 20]"),
        ("train.no_in_batch_negatives", "type: list of text, or the word all default: []"),
        ("student.dimensions", "type: integer, or null default: null"),
        ("name", "default: none, it must be given"),
        ("generate.labelled.label_column", 'default: "label"'),
        ("ablation.arms", "type: mapping of names to mapping of names to any value"),
    ],
)
def test_explain_says_what_a_key_may_hold(key, said):
    from distill.recipe.reference import explain_key

    assert said in words(explain_key(key))


def test_explain_a_section():
    done = run_distill("explain", "train")
    assert done.returncode == 0, done.stderr
    keys = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert keys == ["train", *(f"train.{name}" for name in Train.model_fields)]


def test_explain_without_a_key_lists_the_sections():
    done = run_distill("explain")
    assert done.returncode == 0, done.stderr
    assert "\n\ntrain\n    type: section\n" in done.stdout


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        pytest.param(
            "train.sop",
            "train.soup",
            marks=pytest.mark.bad_input(
                "command line", "`distill explain` of an unknown key", "the nearest key is named"
            ),
        ),
        ("soup", "train.soup"),
        ("train.soup.x", "train.soup"),
        ("train.", "train"),
    ],
)
def test_explain_an_unknown_key_names_the_nearest(key, nearest):
    done = run_distill("explain", key)
    assert done.returncode == 2
    assert f"the nearest one is {nearest}" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("key", ["nosuch", "folder"])
def test_explain_a_word_that_is_like_no_key_names_none(key):
    done = run_distill("explain", key)
    assert done.returncode == 2
    assert "nearest" not in done.stderr
    assert "`distill explain` lists the sections" in words(done.stderr)


def test_recipes_lists_names_and_purposes():
    done = run_distill("recipes")
    assert done.returncode == 0, done.stderr
    listed = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert {path.stem for path in get_packaged_folder().glob("*.yaml")} < set(listed)
    assert "ablations/table3" in listed
    assert "The main job in minutes, on two CPU cores" in words(done.stdout)
    assert done.stdout.count("distill ablate") == 0  # the first sentence alone


def test_recipes_copy_writes_one_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_distill("recipes", "copy", "demo")
    assert done.returncode == 0, done.stderr
    copied = tmp_path / "demo.yaml"
    assert copied.read_bytes() == (get_packaged_folder() / "demo.yaml").read_bytes()
    assert run_distill("run", "demo.yaml", "--print-resolved").returncode == 0


def test_recipes_copy_under_another_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_distill("recipes", "copy", "ablations/table3", "mine.yaml").returncode == 0
    assert (tmp_path / "mine.yaml").read_text().startswith("# Gecko's Table 3")


@pytest.mark.bad_input(
    "command line", "`distill recipes copy` onto a file that exists", "the file stays as it is"
)
def test_recipes_copy_never_overwrites(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.yaml").write_text("name: precious")
    done = run_distill("recipes", "copy", "demo")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "demo.yaml").read_text() == "name: precious"


@pytest.mark.parametrize("name", ["dmo", "../recipes/demo", "prompts/fret-examples"])
def test_recipes_copy_of_an_unknown_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_distill("recipes", "copy", name)
    assert done.returncode == 2
    assert "the nearest name is" in done.stderr
    assert not list(tmp_path.iterdir())


def test_recipes_copy_into_a_folder_that_is_missing(tmp_path):
    done = run_distill("recipes", "copy", "demo", str(tmp_path / "none" / "mine.yaml"))
    assert done.returncode == 2
    assert "is no folder" in done.stderr
