"""A teacher that is told tasks embeds each query under its own, in training and in scores."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS, make_tiny_encoder
from helpers.training_by_hand import make_example_rows, make_passage_rows, make_recipe
from teacher.test_scores import examples_of, flat, rows_of

from distill.embed.open_embedder import open_embedder
from distill.recipe import Recipe
from distill.store.run import Run
from distill.teacher.scores import make_teacher_scores
from distill.teacher.vectors import embed_with_teacher, identify_teacher, uses_tasks
from distill.train.data.mixture import make_mixture
from distill.train.rows.examples import ScoredExample

TEMPLATE = "do {task} with: {query}"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_tiny_encoder(tmp_path_factory.mktemp("teacher") / "t", seed=3)


def recipe(teacher, **settings) -> Recipe:
    of = {"model": str(teacher), "device": "cpu", "max_tokens": 32, **settings}
    return Recipe.model_validate({"name": "tiny", "teacher": of})


def test_same_query_under_two_tasks_has_two_vectors(tmp_path, teacher):
    told = recipe(teacher, query_template=TEMPLATE)
    queries, tasks = {"q0": "bees", "q1": "bees"}, {"q0": "find", "q1": "sort"}
    with Run(tmp_path) as run:
        rows = embed_with_teacher(run, told.teacher, queries, {"p": TEXTS[0]}, tasks=tasks)
        stores = len(list((tmp_path / "vectors").iterdir()))
        other = embed_with_teacher(
            run, told.teacher, queries, {"p": TEXTS[0]}, tasks=tasks | {"q1": "mix"}
        )
        # Stores are found by the whole texts: those of the documents are there.
        assert len(list((tmp_path / "vectors").iterdir())) == stores + 1
    encoder = open_embedder(told.teacher, str(teacher))
    whole = ["do find with: bees", "do sort with: bees"]
    expected = encoder.encode_prompted(whole, "query")
    assert np.allclose(rows.take(torch.tensor([0, 1])).numpy(), expected, atol=1e-6)
    assert np.allclose(other.take(torch.tensor([0])), expected[:1], atol=1e-6)
    assert not np.allclose(expected[0], expected[1])


def test_examples_are_numbered_by_task_and_query_where_the_teacher_gets_the_task(encoder_folder):
    one = make_example_rows()[0]
    rows = [one, one | {"query_id": "again", "task": "Another task."}]
    of = make_recipe(encoder_folder, encoder_folder)

    def made(told):
        scored = [ScoredExample(row, [0.0] * (1 + len(row["negatives"]))) for row in rows]
        return make_mixture(of.student, of.train, 1, scored, make_passage_rows(), told)

    assert [*made(False).queries.values()] == [one["query"]]
    mixture = made(True)
    assert [*mixture.queries.values()] == [one["query"]] * 2
    assert [*mixture.tasks.values()] == [one["task"], "Another task."]
    [dataset] = mixture.datasets.values()
    assert [label[1] for label in dataset["label"]] == [0, 1]


def test_scores_are_under_each_querys_task(tmp_path, teacher):
    told = recipe(teacher, query_template=TEMPLATE)
    with Run(tmp_path) as run:
        scored = flat(rows_of(make_teacher_scores(run, told.teacher, examples_of(run))))
    encoder = open_embedder(told.teacher, str(teacher))
    [query] = encoder.encode_prompted([f"do Find it. with: {TEXTS[0]}"], "query")
    [positive] = encoder.encode_prompted([TEXTS[0]], "document")
    assert scored[0]["positive_score"] == pytest.approx(float(query @ positive), abs=1e-5)


def test_query_template_of_a_teacher_is_part_of_fingerprints(teacher):
    plain, told = recipe(teacher).teacher, recipe(teacher, query_template=TEMPLATE).teacher
    assert identify_teacher(plain, str(teacher)) != identify_teacher(told, str(teacher))
    assert not uses_tasks(plain)
    assert uses_tasks(told)
    assert not uses_tasks(recipe(teacher, query_template="find: {query}").teacher)
