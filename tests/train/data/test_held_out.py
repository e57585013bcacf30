"""Held-out queries: split by passage, and nothing of them is trained on."""

from collections.abc import Sequence

import pytest
from helpers.training_by_hand import make_example_rows, make_recipe, write_inputs

from distill.errors import UserError
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.tables import Row
from distill.train.data.held_out import HeldOut, hold_out
from distill.train.data.sources import TrainingInputs


def with_seeds() -> list[Row]:
    """Every third query was given another passage than the one that it was written from."""
    rows = make_example_rows()
    return [
        row
        | {"seed_id": rows[(n + 1) % len(rows)]["positive_id"] if n % 3 == 0 else row["seed_id"]}
        for n, row in enumerate(rows)
    ]


def held(folder, recipe: Recipe, rows: Sequence[Row], corpus: bool = True) -> HeldOut:
    with Run(folder) as run:
        passages, examples = write_inputs(run, list(rows))
        inputs = TrainingInputs(run, passages if corpus else None, [examples], None, None)
        found = hold_out(recipe.train, recipe.student, recipe.seed, inputs)
    assert found is not None
    return found


def recipe_of(**validation) -> Recipe:
    return make_recipe("x", train={"validation": {"share": 0.5} | validation})


@pytest.mark.parametrize("corpus", [True, False])
def test_no_held_out_passage_is_a_positive_or_a_seed_in_training(tmp_path, corpus):
    rows = with_seeds()
    found = held(tmp_path, recipe_of(), rows, corpus)
    trained = [row for row in rows if found.is_allowed(row)]
    assert trained
    assert found.queries
    assert len(found.passages) == round(0.5 * len(rows))
    for row in trained:
        assert not {row["positive_id"], row["seed_id"]} & found.passages
    for row in found.queries:
        assert {row["positive_id"], row["seed_id"]} <= found.passages
        assert row["positive_id"] in found.documents
        assert not found.is_allowed(row)
    between = [row for row in rows if not found.is_allowed(row) and row not in found.queries]
    assert between  # neither trained on nor asked
    assert len(found.documents) == (12 if corpus else 11)  # or the examples' own texts


def test_near_duplicates_of_held_out_queries_and_passages_are_not_trained_on(tmp_path):
    rows = make_example_rows()
    found = held(tmp_path, recipe_of(), rows)
    asked = found.queries[0]
    other = next(row for row in rows if found.is_allowed(row))
    assert not found.is_allowed(other | {"query": asked["query"]})
    assert not found.is_allowed(other | {"positive": asked["positive"]})


def test_queries_and_passages_are_as_many_as_asked_for_and_drawn_by_seed(tmp_path):
    recipe = recipe_of(queries=2, passages=5)
    found = held(tmp_path, recipe, make_example_rows())
    assert len(found.queries) == 2
    assert len(found.documents) == 5
    again = held(tmp_path, recipe, make_example_rows())
    assert (again.queries, again.documents) == (found.queries, found.documents)


def test_validation_rows_are_not_held_out_unless_asked_for(tmp_path):
    with Run(tmp_path) as run:
        passages, examples = write_inputs(run, make_example_rows())
        recipe, inputs = make_recipe("x"), TrainingInputs(run, passages, [examples], None, None)
        assert hold_out(recipe.train, recipe.student, recipe.seed, inputs) is None


@pytest.mark.bad_input("student", "a validation share that leaves nothing", "refused")
def test_share_that_leaves_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train\.validation\.share"):
        held(tmp_path, recipe_of(share=0.99), make_example_rows())


def test_query_encoders_later_rounds_hold_out_what_no_earlier_one_trained_on(tmp_path):
    """Another round's candidates may give queries other positives."""
    train = {"validation": {"share": 0.4}, "objective": {"corpus_softmax": 1.0}}
    relabel = {"rankers": ["retriever", "bm25"]}
    student = {"route": "query"}
    recipe = make_recipe("x", "y", train=train, student=student, relabel=relabel)
    first, later = make_example_rows(), with_seeds()
    later[2]["seed_id"] = ""  # of a log
    first[2]["seed_id"] = ""
    found = [held(tmp_path / str(n), recipe, rows) for n, rows in enumerate((first, later))]
    for one, rows in zip(found, (first, later), strict=True):
        trained = {row["query"] for row in rows if one.is_allowed(row)}
        assert trained
        assert not any(trained & {row["query"] for row in other.queries} for other in found)
