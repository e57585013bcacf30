"""Every key that a stage reads is in its fingerprint, or declared to change speed alone."""

import shutil

import pytest
from helpers.recipe_keys import find_missing_keys, read_settings, record_reads
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS
from helpers.training_by_hand import make_example_rows, make_recipe, write_inputs
from train.data.test_soft_labels import label, write

from distill.recipe import Recipe, Teacher
from distill.recipe.sections.train import PERFORMANCE_KEYS
from distill.relabel.fuse import make_labels
from distill.store.run import Run
from distill.store.tables import LABELS
from distill.student.build import build_base
from distill.train.judge.base import JudgeTraining
from distill.train.judge.stage import make_judge
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student
from distill.train.static.base import build_static_base

LORA = {"lora": {"rank": 2}}
ALIGNED = {
    "objective": {"infonce": 1, "align": 1, "similarity_matrix": 1, "gor": 0.1},
    "align": {"passages": 4, "sentences": 4, "batch_size": 4},
}
VALIDATED = {
    "validation": {"share": 0.3, "every": 1},
    "soup": 2,
    "interpolation": 0.5,
    "mixture": [{"path": "examples", "weight": 2}, {"path": "titles"}],
    "widths": [32, 8],
    "no_in_batch_negatives": ["search"],
    "mini_batch_tokens": 64,
}

OF_TRAINING = {f"train.{key}" for key in PERFORMANCE_KEYS}
OF_EMBEDDER = {"teacher.device", "teacher.batch_tokens"}
RESOLVED = {"teacher.known_as", "teacher.bidirectional"}
"""Fingerprints hold what these keys change in a model: nothing in an encoder without prompts."""


@pytest.mark.parametrize(
    ("student", "train", "has_teacher"),
    [
        ({}, VALIDATED, False),
        (LORA, ALIGNED, True),
        ({"pooling": "latent", "pool_prompt": False}, {}, False),
        ({}, {"objective": {"multi_positive": 1}}, False),
    ],
    ids=["validated", "aligned", "latent", "judged"],
)
def test_fingerprint_of_training_holds_every_key_that_training_reads(
    tmp_path, encoder_folder, teacher_folder, student, train, has_teacher
):
    teacher = teacher_folder if has_teacher else None
    recipe = make_recipe(encoder_folder, teacher, student=student, train=train)
    with Run(tmp_path / "run", "stale") as run:
        passages, examples = write_inputs(run, make_example_rows())
        labels = write(run, LABELS, "labels", [[label("q1", "p8", None) | {"rc": 1.0}]])
        base = build_base(run, recipe.student, recipe.seed)

        def make(recipe: Recipe):
            return train_student(
                run, TrainingSettings.select(recipe), passages, [examples], base, labels
            )

        with record_reads() as reads:
            make(recipe)
        missing = find_missing_keys("student", make, recipe, reads)
        unused = set() if has_teacher else {"teacher.model"}
        assert missing <= OF_TRAINING | OF_EMBEDDER | RESOLVED | unused


def test_training_reads_nothing_of_a_teacher_that_it_does_not_learn_from(
    tmp_path, encoder_folder, teacher_folder
):
    """Its template may tell tasks, by which equal queries under two tasks would be two."""
    recipe = make_recipe(encoder_folder, teacher_folder, train={"objective": {"infonce": 1}})
    recipe.teacher.query_template = "{task}: {query}"
    with Run(tmp_path / "run", "stale") as run:
        passages, examples = write_inputs(run, make_example_rows())
        base = build_base(run, recipe.student, recipe.seed)
        with record_reads() as reads:
            train_student(run, TrainingSettings.select(recipe), passages, [examples], base)
    assert [name for section, name in reads if section is Teacher and name != "model"] == []


@pytest.mark.parametrize(
    "student", [{"layers": [0]}, {"pooling": "latent"}, {"dimensions": 8}], ids=str
)
def test_fingerprint_of_the_base_holds_every_key_that_building_it_reads(
    tmp_path, encoder_folder, student
):
    recipe = make_recipe(encoder_folder, student=student)
    with Run(tmp_path / "run", "stale") as run:
        passages, _ = write_inputs(run, make_example_rows())

        def make(recipe: Recipe):
            return build_base(run, recipe.student, recipe.seed, passages)

        with record_reads() as reads:
            make(recipe)
        assert find_missing_keys("base", make, recipe, reads) == set()


def test_fingerprint_of_a_static_base_holds_every_key_that_fitting_it_reads(
    tmp_path, encoder_folder, teacher_folder
):
    student = {"architecture": "static", "route": "query", "vocabulary": "corpus"}
    train = {"objective": {"corpus_softmax": 1}}
    relabel = {"rankers": ["retriever", "bm25"]}
    recipe = make_recipe(
        encoder_folder, teacher_folder, student=student, train=train, relabel=relabel
    )
    with Run(tmp_path / "run", "stale") as run:
        passages, examples = write_inputs(run, make_example_rows())

        def make(recipe: Recipe):
            return build_static_base(
                run, recipe.student, recipe.teacher, recipe.seed, passages, [examples]
            )

        with record_reads() as reads:
            make(recipe)
        assert find_missing_keys("base", make, recipe, reads) <= OF_EMBEDDER | RESOLVED


def test_fingerprint_of_the_judge_holds_every_key_that_its_training_reads(tmp_path, encoder_folder):
    texts = {f"p{n}": text for n, text in enumerate(TEXTS)}
    ids = list(texts)
    asked = [(text.split(",")[0], f"p{n}") for n, text in enumerate(TEXTS)]
    found = [[ids[n], ids[n - 1], ids[n - 2]] for n in range(len(ids))]
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "seed": 1,
            "relabel": {"rankers": ["retriever"], "shard_size": 2},
            "student": {"encoder": str(encoder_folder)},
            "judge": {"epochs": 1, "max_tokens": 40, "device": "cpu", "layers": [0]},
        }
    )
    with Run(tmp_path / "run", "stale") as run:
        passages, queries, candidates = prepare_candidates(run, texts, asked, found)
        labels = make_labels(run, recipe.relabel, queries, candidates, {})

        def make(recipe: Recipe):
            return make_judge(run, JudgeTraining.select(recipe), passages, queries, labels)

        with record_reads() as reads:
            make(recipe)
        speed = {"judge.device", "judge.checkpoint_steps"}
        assert find_missing_keys("judge", make, recipe, reads) <= speed


def test_key_that_is_missing_in_a_fingerprint_is_found(tmp_path):
    recipe = Recipe(name="mine")

    def make(recipe: Recipe):
        with Run(tmp_path / "run", "stale") as run:
            run.open_stage("mine", {"seed": recipe.seed})
            return recipe.train.soup

    with record_reads() as reads:
        make(recipe)
    assert find_missing_keys("mine", make, recipe, reads) == {"train.soup"}
    assert read_settings("mine", make, recipe) == {"seed": 13}
    shutil.rmtree(tmp_path / "run")
