"""The pool of few-shot examples, and personas: files of a user's own."""

import pytest

from distill.errors import UserError
from distill.generate.passages.conditions import load_personas
from distill.generate.passages.few_shot import load_pool
from distill.recipe import load_recipe


def wrong(name, text, says):
    mark = pytest.mark.bad_input("few-shot pool", name, f"refused: {says}")
    return pytest.param(text, says, id=name, marks=mark)


def recipe_with(tmp_path, data):
    (tmp_path / "pool.yaml").write_bytes(data if isinstance(data, bytes) else data.encode())
    (tmp_path / "r.yaml").write_text("name: mine\n")
    recipe = load_recipe(tmp_path / "r.yaml", ["generate.examples=pool.yaml"])
    return recipe.generate, recipe.folder


SHOT = "search:\n- {passage: p, task: t, query: %s}"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        wrong("nothing", "", "not a mapping of task types"),
        wrong("a list", "- a", "not a mapping of task types"),
        wrong("a type that is not known", "riddles: []", "not a mapping of task types"),
        wrong("a number in place of examples", "search: 5", "is a number .5., not a list"),
        wrong("a mapping in place of examples", "search: {passage: p}", "not a list"),
        wrong("a text as example", "search: [words]", "example 1: does not have exactly"),
        wrong("a key too many", "search: [{passage: p, task: t, query: q, x: 1}]", "exactly"),
        wrong("a number as query", SHOT % "5", "query: is a number .5., not a text"),
        wrong("yes as query", SHOT % "yes", "is a truth value .True., not a text"),
        wrong("a date as query", SHOT % "2024-01-01", "is a date"),
        wrong("an empty query", SHOT % "''", "has an empty query"),
        wrong("Latin-1", (SHOT % "é").encode("latin1"), "is not UTF-8"),
        wrong("a key twice", "search: []\nsearch: []", "stands in row 1 already"),
        wrong("aliases without end", "search: &a [*a]", "within what it refers to"),
        wrong("an integer of 5,000 digits", SHOT % ("9" * 5000), "5000 characters"),
    ],
)
def test_pool_that_is_refused(tmp_path, data, says):
    with pytest.raises(UserError, match=says) as fault:
        load_pool(*recipe_with(tmp_path, data))
    assert "pool.yaml" in fault.value.where


@pytest.mark.bad_input("personas", "Latin-1", "refused: is not UTF-8")
def test_personas_in_latin_1(tmp_path):
    (tmp_path / "r.yaml").write_text("name: mine\n")
    (tmp_path / "p.txt").write_bytes("un élève\n".encode("latin1"))
    recipe = load_recipe(tmp_path / "r.yaml", ["generate.personas=p.txt"])
    with pytest.raises(UserError, match=r"p\.txt, row 1: is not UTF-8"):
        load_personas(recipe.generate.personas, recipe.folder)


@pytest.mark.bad_input("personas", "an empty file", "refused: holds no persona")
def test_no_persona(tmp_path):
    (tmp_path / "r.yaml").write_text("name: mine\n")
    (tmp_path / "p.txt").write_text("\n \n")
    recipe = load_recipe(tmp_path / "r.yaml", ["generate.personas=p.txt"])
    with pytest.raises(UserError, match="holds no persona"):
        load_personas(recipe.generate.personas, recipe.folder)
