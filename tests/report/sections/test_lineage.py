"""Where the student comes from."""

from pathlib import Path
from typing import Any

from distill.recipe import Recipe
from distill.report.run_data import RunData
from distill.report.sections.lineage import make_lineage

FREE = {"methods": ["sentences"], "free": {"queries": 4}}


def list_roles(recipe: dict[str, Any]) -> list[str]:
    """The roles of the models that a run of this recipe has."""
    models = make_lineage(RunData(Path("run"), {}, "", recipe, None)).models
    assert models is not None
    return [str(row[0].text) for row in models.rows]


def test_llm_that_wrote_and_judged_nothing_is_no_model_of_the_run():
    rankers = {"rankers": ["retriever", "bm25"]}
    free = Recipe.model_validate({"name": "x", "generate": FREE, "relabel": rankers})
    assert "LLM" not in list_roles(free.model_dump())
    assert "LLM" in list_roles(Recipe(name="x").model_dump())


def test_llm_of_an_unknown_recipe_is_reported():
    assert "LLM" in list_roles({"llm": {"model": "a/b"}, "of_a_later_version": 1})
