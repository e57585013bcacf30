"""A query encoder over several rounds of retrieval, its safeguard and its interpolated weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.killed_training import Killed
from helpers.query_side_recipe import load_query_route
from helpers.written_files import read_files
from pipeline.test_static_student import adapt as adapt_static
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.files.atomic import read_json
from distill.models.reference import identify_revision
from distill.pipeline.job import Job
from distill.pipeline.make_student import make_student
from distill.recipe import Recipe, override
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import CANDIDATES, EXAMPLES, QUERIES
from distill.train.loop.callbacks import CheckpointCallback

TEXTS = ["The heart pumps blood.", "A glacier is a river of ice."]
VALIDATED = ("train.validation={share: 0.3, every: 2}", "train.keep=best")
HARMFUL = "train.learning_rate=1.0"


def train(folder: Path, recipe: Recipe) -> Path:
    with Run(folder, "stale") as run:
        Job(run, recipe).train_student()
    return folder


def encode_queries(folder: Path) -> np.ndarray:
    return SentenceTransformer(str(folder)).encode_query(TEXTS)


def encode_untrained(run: Path) -> np.ndarray:
    return SentenceTransformer(str(run / "base")).encode(TEXTS)


def read_training(student: Path) -> dict:
    return read_json(student / "training.json")


def read_manifest(stage: Path) -> dict:
    return read_json(stage / ".stage" / "manifest.json")


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder) -> Recipe:
    rounds = ("relabel.rounds=2", "train.validation={share: 0.3, every: 2}")
    return load_query_route(recipe_file, encoder_folder, *rounds)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe) -> Path:
    return train(tmp_path_factory.mktemp("query-rounds") / "run", recipe)


def test_student_of_a_round_searches_the_teachers_vectors_for_the_next(run_folder):
    first = run_folder / "round-1" / "student"
    assert read_manifest(run_folder / "candidates")["settings"]["revision"] == identify_revision(
        str(first)
    )
    passages = PassageReader(run_folder / "passages")
    rows = open_stage(run_folder / "candidates").read_rows(CANDIDATES)[:5]
    texts = passages.read_texts([row["passage_id"] for row in rows])
    asked = open_stage(run_folder / "queries").read_rows(QUERIES)
    queries = {row["query_id"]: row["query"] for row in asked}
    student = SentenceTransformer(str(first))
    for row in rows:
        query = student.encode_query(queries[row["query_id"]])
        document = student.encode_document(texts[row["passage_id"]])
        assert row["similarity"] == pytest.approx(float(query @ document), abs=1e-4)


def test_similarity_may_stay_the_teachers_where_its_student_finds_the_candidates(
    tmp_path, recipe_file, encoder_folder
):
    settings = ("relabel.rounds=2", "relabel.similarity_by=teacher")
    with Run(tmp_path / "run") as run:
        Job(run, load_query_route(recipe_file, encoder_folder, *settings)).relabel()
    found = {}
    for folder in (tmp_path / "run" / "round-1", tmp_path / "run"):
        rows = open_stage(folder / "candidates").read_rows(CANDIDATES)
        found[folder.name] = {(r["query_id"], r["passage_id"]): r["similarity"] for r in rows}
    both = found["run"].keys() & found["round-1"].keys()
    assert both
    assert {pair: found["run"][pair] for pair in both} == pytest.approx(
        {pair: found["round-1"][pair] for pair in both}, abs=1e-5
    )


def test_no_document_is_embedded_in_a_later_round(run_folder):
    assert (run_folder / "round-1" / "vectors").is_symlink()
    count = len(PassageReader(run_folder / "passages"))
    stores = [read_json(path) for path in run_folder.glob("vectors/*/ids.json")]
    assert [len(ids) for ids in stores].count(count) == 1


def test_training_goes_on_from_the_weights_of_the_round_before(run_folder):
    before = read_manifest(run_folder / "round-1" / "student")["figures"]["after"]
    first = read_training(run_folder / "student")["looks"][0]
    assert {name: first[name] for name in before} == before
    assert "ndcg@10" in before


def test_held_out_queries_are_trained_on_in_no_round(run_folder, recipe):
    from distill.train.data.held_out import hold_out
    from distill.train.data.sources import TrainingInputs

    found = []
    for folder in (run_folder / "round-1", run_folder):
        stages = [open_stage(folder / "examples")]
        passages = open_stage(run_folder / "passages")
        with Run(run_folder) as run:
            inputs = TrainingInputs(run, passages, stages, None, None)
            held_out = hold_out(recipe.train, recipe.student, recipe.seed, inputs)
        rows = stages[0].read_rows(EXAMPLES)
        trained = {row["query"] for row in rows if held_out.is_allowed(row)}
        found.append((trained, {row["query"] for row in held_out.queries}))
    assert found[0][1]
    assert not any(trained & held for trained, _ in found for _, held in found)


@pytest.mark.parametrize("round_", [1, 2])
def test_killed_in_any_round_and_resumed_it_ends_with_the_undisturbed_bytes(
    tmp_path, recipe, run_folder, monkeypatch, round_
):
    class Fatal(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == 4 and ("round-1" in str(self.folder)) == (round_ == 1):
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("distill.train.loop.trainer.CheckpointCallback", Fatal)
        with pytest.raises(Killed):
            train(tmp_path / "run", recipe)
    train(tmp_path / "run", recipe)
    assert read_files(tmp_path / "run" / "student") == read_files(run_folder / "student")


def test_training_that_does_not_help_leaves_the_start_and_ends_the_rounds(
    tmp_path, recipe_file, encoder_folder, caplog
):
    harmful = load_query_route(recipe_file, encoder_folder, "relabel.rounds=3", *VALIDATED, HARMFUL)
    run = train(tmp_path / "run", harmful)
    assert read_training(run / "student")["stages"][0]["kept_steps"] == [0]
    np.testing.assert_allclose(encode_queries(run / "student"), encode_untrained(run), atol=1e-6)
    assert "before training, whose weights are kept" in caplog.text
    assert not (run / "round-2").exists()
    assert read_files(run / "student") == read_files(run / "round-1" / "student")
    assert caplog.text.count("before training, whose weights are kept") == 1  # trained once


def test_best_validation_is_the_student_never_below_the_start(
    tmp_path, recipe_file, encoder_folder
):
    run = train(tmp_path / "run", load_query_route(recipe_file, encoder_folder, *VALIDATED))
    scores = [line["ndcg@10"] for line in read_training(run / "student")["looks"]]
    figures = read_manifest(run / "student")["figures"]
    assert figures["after"]["ndcg@10"] == max(scores)
    assert figures["before"]["ndcg@10"] == scores[0]


def test_interpolated_weights_are_the_starts_at_0_and_the_trained_at_1(
    tmp_path, recipe_file, encoder_folder
):
    run, vectors, weights = tmp_path / "run", {}, {}
    for share in (0, 0.5, 1):
        train(run, load_query_route(recipe_file, encoder_folder, f"train.interpolation={share}"))
        vectors[share] = encode_queries(run / "student")
        model = SentenceTransformer(str(run / "student"))[0].sub_modules["query"]
        weights[share] = {name: weight.double() for name, weight in model.state_dict().items()}
    np.testing.assert_array_equal(vectors[0], encode_untrained(run))
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    for name, weight in weights[0.5].items():
        mean = (weights[0][name] + weights[1][name]) / 2
        np.testing.assert_allclose(weight, mean, atol=1e-6)


def test_last_training_that_repeats_a_round_is_interpolated_too(tmp_path, recipe, run_folder):
    """Rounds that end early leave their last student, which no round interpolates."""
    shutil.copytree(run_folder, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "student")
    mean = override(recipe, {"train.interpolation": 0.0})
    with Run(tmp_path / "run") as run:
        passages, examples, labels, before = (
            open_stage(run.folder / name)
            for name in ("passages", "examples", "labels", "round-1/student")
        )
        _, student = make_student(run, mean, passages, [examples], labels, before, before)
        found, untrained = encode_queries(student.folder), encode_untrained(run.folder)
    np.testing.assert_array_equal(found, untrained)
    assert np.abs(encode_queries(before.folder) - untrained).max() > 1e-3


def test_interpolated_weights_that_do_not_help_leave_the_start(
    tmp_path, recipe_file, encoder_folder, caplog
):
    """The second stage finds nothing better than what the first one spoilt."""
    stages = "[{name: spoil, learning_rate: 1.0, keep: last}, {name: keep, epochs: 0.3}]"
    settings = (*VALIDATED, f"train.stages={stages}", "train.interpolation=0.9")
    run = train(tmp_path / "run", load_query_route(recipe_file, encoder_folder, *settings))
    np.testing.assert_array_equal(encode_queries(run / "student"), encode_untrained(run))
    figures = read_manifest(run / "student")["figures"]
    assert figures["after"]["ndcg@10"] == figures["before"]["ndcg@10"]
    assert "the weights before training are kept" in caplog.text


def test_static_query_encoder_goes_through_rounds_and_interpolation_too(
    tmp_path, recipe_file, teacher_folder
):
    settings = ("relabel.rounds=2", "train.interpolation=0.0")
    run = train(tmp_path / "run", adapt_static(recipe_file, teacher_folder, *settings))
    before = read_manifest(run / "round-1" / "student")["figures"]["after"]
    first = read_training(run / "student")["looks"][0]
    assert {name: first[name] for name in before} == before
    np.testing.assert_array_equal(encode_queries(run / "student"), encode_untrained(run))


@pytest.mark.bad_input("recipe", "rounds or interpolation that a student cannot have", "named")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["relabel.rounds=2", "retriever.sources=[bm25]", "train.corpus_softmax.scores=bm25"],
            "rounds above 1 without dense",
        ),
        (["relabel.rounds=2", "relabel.first_round=seed"], "first_round seed judges nothing"),
        (
            [
                "student.route=both",
                "train.objective={infonce: 1.0}",
                "train.interpolation=0.5",
                "student.lora={rank: 2, save: adapter}",
            ],
            r"student\.lora\.save: merged",
        ),
        (["relabel.similarity_by=teacher"], "for later rounds of a query encoder"),
        (["train.interpolation=1.5"], "less than or equal to 1"),
    ],
)
def test_rounds_or_interpolation_that_cannot_be_done_are_refused(
    recipe_file, encoder_folder, settings, message
):
    with pytest.raises(UserError, match=message):
        load_query_route(recipe_file, encoder_folder, *settings)
