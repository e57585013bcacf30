"""What the full-size recipes would train on, resolved without a model: mixtures and stages."""

import logging
from pathlib import Path

import pytest
from helpers.training_by_hand import make_example_rows, make_passage_rows

from distill.errors import UserError
from distill.recipe import Recipe, load_recipe, override
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, PASSAGES, Row
from distill.train.data.mixture import make_mixture
from distill.train.data.sources import (
    TrainingInputs,
    check_sources,
    find_untrained_stages,
    read_mixture,
)

RECIPES = Path(__file__).parents[2] / "recipes"
FULL = ["gecko", "gecko-256", "e5-mistral", "nv-embed", "gte-qwen2", "leaf"]
TITLED = {"mteb/nq": True, "mteb/msmarco": False}
"""Whether the passages of a hub's dataset have titles."""
LABELLED = {"path": "sets/labelled.jsonl", "task": "Name the topic of the text."}


def load(name: str, labelled: bool = False) -> Recipe:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    if not labelled:
        return recipe
    methods = [*recipe.generate.methods, "labelled"]
    return override(recipe, {"generate.methods": methods, "generate.labelled": [LABELLED]})


def write(run: Run, recipe: Recipe) -> TrainingInputs:
    """A run as the recipe would make it, but smaller."""
    dataset = recipe.corpus.dataset
    passages = None
    if dataset is not None:
        rows = [row if TITLED[dataset] else row | {"title": ""} for row in make_passage_rows()]
        passages = run.open_stage("passages", {})
        passages.map_shards(PASSAGES, [rows], ShardResult)
        passages.finish()
    stages = [made_by_hand(run, name) for name in recipe.generate.example_stages]
    return TrainingInputs(run, passages, stages, None, None)


def made_by_hand(run: Run, name: str) -> Stage:
    stage = run.open_stage(name, {})
    task_type = "classification" if name == "examples-labelled" else "search"
    rows = [
        row | {"query_id": f"{name}~{n}", "task_type": task_type}
        for n, row in enumerate(make_example_rows())
    ]
    stage.map_shards(EXAMPLES, [rows], ShardResult)
    stage.finish()
    return stage


def trained_on(recipe: Recipe, folder: Path) -> dict[str, list[Row]]:
    """The rows of each stage of training."""
    with Run(folder) as run:
        inputs = write(run, recipe)
        check_sources(run.folder, recipe.train, recipe.generate, inputs.passages)
        found = {}
        for name, train in recipe.train.list_stages().items():
            rows = read_mixture(inputs, train, recipe.seed)
            passages = [] if inputs.passages is None else inputs.passages.read_rows(PASSAGES)
            mixture = make_mixture(recipe.student, train, recipe.seed, rows, passages)
            assert mixture.examples == len(rows)
            found[name] = [scored.row for scored in rows]
    return found


def sources(rows: list[Row]) -> set[str]:
    return {row["query_id"].partition("~")[0] for row in rows}


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("name", FULL)
def test_tables_that_a_recipe_makes_are_trained_on(tmp_path, name, labelled):
    recipe = load(name, labelled)
    assert find_untrained_stages(recipe.train, recipe.generate) == []
    seen = trained_on(recipe, tmp_path / "run")
    assert set.union(*map(sources, seen.values())) >= set(recipe.generate.example_stages)


@pytest.mark.parametrize("name", ["gecko", "gte-qwen2"])
def test_first_stage_is_of_titles_that_its_corpus_has(tmp_path, name):
    first, second = trained_on(load(name, labelled=True), tmp_path / "run").values()
    assert sources(first) == {"title"}
    assert sources(second) == {"examples", "examples-labelled"}


def test_nv_embeds_first_stage_is_of_retrieval_alone(tmp_path):
    """Where other rows of the batch are negatives, which in classification they may not be."""
    recipe = load("nv-embed", labelled=True)
    first, second = trained_on(recipe, tmp_path / "run").values()
    assert sources(first) == {"examples"}
    assert sources(second) == {"examples", "examples-labelled"}
    assert [train.no_in_batch_negatives for train in recipe.train.list_stages().values()] == [
        [],
        "all",
    ]


def test_geckos_documents_have_their_titles_and_pairs_are_alike(tmp_path):
    recipe = load("gecko", labelled=True)
    with Run(tmp_path / "run") as run:
        inputs = write(run, recipe)
        train = recipe.train.list_stages()["fine-tuning"]
        rows = read_mixture(inputs, train, recipe.seed)
        passages = inputs.passages.read_rows(PASSAGES)
        made = make_mixture(recipe.student, train, recipe.seed, rows, passages)
    texts = {"".join(text) for text in made.student_texts}
    assert f"title: Text 3 | text: {passages[3]['text']}" in texts
    pair = make_example_rows()[3]
    assert f"task: {pair['task']} | query: {pair['positive']}" in texts


def test_examples_that_are_in_no_mixture_are_warned_of(tmp_path, caplog):
    recipe = override(load("gecko-256", labelled=True), {"train.mixture": [{"path": "examples"}]})
    assert find_untrained_stages(recipe.train, recipe.generate) == ["examples-labelled"]
    with caplog.at_level(logging.WARNING):
        check_sources(tmp_path, recipe.train, recipe.generate, None)
    assert "examples-labelled: is made" in caplog.text


@pytest.mark.bad_input(
    "recipe", "a mixture that names no examples", "refused before the LLM is asked"
)
def test_mixture_of_what_is_not_there_is_refused_at_once(tmp_path):
    recipe = override(load("gecko-256"), {"train.mixture": [{"path": "exmaples"}]})
    with pytest.raises(UserError, match="'exmaples'"):
        check_sources(tmp_path, recipe.train, recipe.generate, None)
