"""Every key that a student's training reads is in its fingerprint, whatever it learns: soft scores,
the order of pairs, the whole corpus, or several of these one after the other."""

from collections.abc import Sequence
from typing import Any

import pytest
from helpers.recipe_keys import StageChain
from helpers.training_by_hand import make_example_rows, make_recipe, write_inputs
from recipe.test_fingerprint_completeness import OF_EMBEDDER, OF_TRAINING, RESOLVED
from train.data.test_soft_labels import label, write

from distill.pipeline.train_static import train_static
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import LABELS, Row
from distill.student.build import build_base
from distill.teacher.scores import make_teacher_scores
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student

EQUAL = OF_TRAINING | OF_EMBEDDER | RESOLVED
"""What no fingerprint needs to hold."""
ALL_CANDIDATES = {"scores": {"rc": 0.7, "retriever": 0.3}, "candidates": "all", "max_candidates": 3}
SET_FOR_STATIC = {
    *(f"student.{key}" for key in ("route", "projection", "lora", "symmetric")),
    *(f"train.{key}" for key in ("epochs", "max_steps", "dropout", "dtype", "widths", "stages")),
    *(f"train.{key}" for key in ("learning_rate", "embedding_learning_rate", "weight_decay")),
    *(f"train.{key}" for key in ("keep", "soup", "interpolation")),
    *(f"train.validation.{key}" for key in ("share", "every", "queries", "passages")),
}
"""A static encoder that is added has values of its own for these keys."""
JUDGED = {"rankers": ["rc", "bm25", "retriever"]}
OF_QUERIES = {"route": "query", "dimensions": 48}
VALIDATED = {"validation": {"share": 0.3, "every": 1}, "keep": "best"}
OF_CORPUS = {"objective": {"corpus_softmax": 1}}
STAGES = [
    {"name": "align", "objective": {"align": 1}, "align": {"sentences": 4, "batch_size": 4}},
    {"name": "judged", "kl": ALL_CANDIDATES, "batch_size": 2},
]


def pair_rows() -> list[Row]:
    """Sentences whose similarity is known: nobody's query."""
    return [row | {"task_type": "sts", "seed_id": ""} for row in make_example_rows()]


def label_rows() -> list[Row]:
    """Two more judged candidates of each query, beside its positive."""
    return [
        label(f"q{i}", f"p{(i + offset) % 9}", -1.0 - offset)
        | {"rc": 1.0 - offset, "bm25": 3.0 - offset, "similarity": 0.5 - offset / 10}
        for i in range(9)
        for offset in (0, 2, 5)
    ]


class Inputs:
    """What the students of a recipe are made from."""

    def __init__(self, run: Run, recipe: Recipe, rows: Sequence[Row]) -> None:
        self.run = run
        self.passages, self.examples = write_inputs(run, list(rows))
        self.labels = write(run, LABELS, "labels", [label_rows()])
        self.chain = StageChain(recipe)
        self.base, _ = self.chain.make("base", self.build_base)

    def build_base(self, of: Recipe) -> Stage:
        return build_base(self.run, of.student, of.seed, self.passages)

    def score(self, of: Recipe) -> Stage:
        return make_teacher_scores(self.run, of.teacher, [self.examples])

    def add_static(self, of: Recipe) -> Stage | None:
        return train_static(self.run, of, self.passages, [self.examples], self.labels)

    def find_unseen_keys(
        self, scores: Stage | None = None, static: Stage | None = None
    ) -> set[str]:
        """The keys that training reads and that no fingerprint holds."""
        _, missing = self.chain.make(
            "student",
            lambda of: train_student(
                self.run,
                TrainingSettings.select(of),
                self.passages,
                [self.examples],
                self.base,
                self.labels,
                scores,
                static=static,
            ),
        )
        return missing


@pytest.fixture
def make_inputs(tmp_path, encoder_folder, teacher_folder):
    """Makes what a student is trained on, of a recipe with a teacher."""
    with Run(tmp_path / "run", "stale") as run:

        def make(rows: Sequence[Row] = (), **sections: Any) -> Inputs:
            recipe = make_recipe(encoder_folder, teacher_folder, relabel=JUDGED, **sections)
            return Inputs(run, recipe, rows or make_example_rows())

        yield make


@pytest.mark.parametrize(
    ("train", "rows"),
    [
        ({"objective": {"kl": 1}, "kl": ALL_CANDIDATES | {"standardise": True}}, []),
        ({"objective": {"kl": 1}, "kl": {"scores": "hybrid"}, "bm25_share": 0.3}, []),
        ({"objective": {"margin_mse": 1}, "margin_mse": {"scores": "rc"}}, []),
        ({"objective": {"cosent": 1}}, pair_rows()),
        ({"objective": {"relative_order": 1}}, []),
        ({"objective": {"kl": 1}, "stages": STAGES} | VALIDATED, []),
    ],
    ids=["kl", "hybrid", "margin_mse", "cosent", "relative_order", "stages"],
)
def test_fingerprint_holds_every_key_that_learning_it_reads(make_inputs, train, rows):
    assert make_inputs(rows, train=train).find_unseen_keys() <= EQUAL


def test_fingerprint_holds_every_key_that_learning_a_teachers_scores_reads(make_inputs):
    train = {"objective": {"kl": 1, "margin_mse": 1}}
    inputs = make_inputs(train=train)
    scores, missing = inputs.chain.make("teacher-scores", inputs.score)
    assert missing <= EQUAL
    assert inputs.find_unseen_keys(scores) <= EQUAL


@pytest.mark.parametrize(
    ("student", "train"),
    [
        ({"projection": "fitted"}, VALIDATED),
        ({"lora": {"rank": 2}}, VALIDATED | {"interpolation": 0.5}),
        ({}, {"corpus_softmax": {"documents": 5, "sample": 3}}),
    ],
    ids=["fitted", "interpolated", "sampled"],
)
def test_fingerprint_of_a_query_encoder_holds_every_key_that_its_training_reads(
    make_inputs, student, train
):
    inputs = make_inputs(student=OF_QUERIES | student, train=OF_CORPUS | train)
    assert inputs.find_unseen_keys() <= EQUAL


def test_fingerprints_hold_every_key_that_adding_a_static_encoder_reads(make_inputs):
    student = OF_QUERIES | {"add_static": {"epochs": 1}, "static": {"prior": "token"}}
    inputs = make_inputs(student=student, train=OF_CORPUS)
    static, missing = inputs.chain.make("student", inputs.add_static, within=["base"])
    assert missing <= EQUAL | SET_FOR_STATIC
    assert inputs.find_unseen_keys(static=static) <= EQUAL
