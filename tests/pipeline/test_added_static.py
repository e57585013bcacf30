"""A query encoder of a transformer and token vectors, adapted to a corpus: the whole path."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.query_side_recipe import load_query_side
from helpers.student_bases import encode_elsewhere
from helpers.written_files import read_files
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.export.export import export_model
from distill.export.search_index import export_index
from distill.files.atomic import read_json
from distill.inspect.search import search_run
from distill.pipeline.job import Job
from distill.recipe import Recipe
from distill.store.run import Run
from distill.train.loop.callbacks import CheckpointCallback

pytestmark = pytest.mark.slow
TEXTS = ["The heart pumps blood.", "A glacier is a river of ice."]


def adapt(recipe_file: Path, teacher: Path, *sets: str) -> Recipe:
    settings = [
        f"student={{encoder: {teacher}, route: query, add_static: {{epochs: 3, weight: 2}}}}",
        "train={batch_size: 8, epochs: 2, device: cpu, checkpoint_steps: 3, learning_rate: 1e-3,"
        " kernel: eager, gradient_checkpointing: true}",
        "train.objective={corpus_softmax: 1.0}",
    ]
    return load_query_side(recipe_file, teacher, *settings, *sets)


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder) -> Recipe:
    return adapt(recipe_file, encoder_folder)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe) -> Path:
    folder = tmp_path_factory.mktemp("added") / "run"
    with Run(folder) as run:
        Job(run, recipe).evaluate()
    return folder


def test_student_loads_without_distill_and_without_trust(run_folder, tmp_path):
    student = SentenceTransformer(str(run_folder / "student"))
    found = encode_elsewhere({"student": run_folder / "student"}, TEXTS, tmp_path)
    np.testing.assert_allclose(found["student"], student.encode_query(TEXTS), atol=1e-6)
    norms = np.linalg.norm(student.encode_query(TEXTS), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-5)


def test_documents_stay_the_teachers(run_folder, encoder_folder):
    student, teacher = (
        SentenceTransformer(str(path)) for path in (run_folder / "student", encoder_folder)
    )
    np.testing.assert_allclose(
        student.encode_document(TEXTS), teacher.encode_document(TEXTS), atol=1e-6
    )


def test_static_encoder_has_no_copy_of_the_teacher(run_folder):
    saved = SentenceTransformer(str(run_folder / "round-static/student"))
    assert set(saved[0].sub_modules) == {"query"}


def test_run_is_searched_evaluated_and_exported_as_any_other(run_folder, tmp_path):
    student = load_eval_model(run_folder / "student", device="cpu")
    vectors = student.encode(TEXTS, "query")
    assert vectors.shape == (2, student.dimensions)
    assert set(search_run(run_folder, "what pumps blood", 3).hits) == {"student", "teacher"}
    export_index(str(run_folder), tmp_path / "index", force=True)
    encoder = SentenceTransformer(str(tmp_path / "index/query_encoder"))
    np.testing.assert_allclose(encoder.encode_query(TEXTS), vectors, atol=1e-5)
    summary = read_json(run_folder / "summary.json")
    assert {"student", "teacher", "student + bm25"} <= summary["models"].keys()


class Killed(Exception):
    pass


def test_export_has_the_query_sides_graph_and_says_what_it_is_made_of(run_folder, tmp_path):
    forms = ["sentence-transformers", "onnx"]
    written = export_model(str(run_folder), tmp_path / "out", forms, force=True)
    assert written["onnx"].path == "query/onnx/embedding.onnx"
    assert written["onnx"].parity.cosine_min > 0.9999
    card = (tmp_path / "out/README.md").read_text()
    assert "a vector for each token, which learnt from the same queries in 3 epochs" in card
    assert "Queries out of the passages' own texts" in card
    assert "LLM" not in card
    assert "round-static" not in card


def test_killed_training_ends_with_the_same_student(recipe, run_folder, tmp_path, monkeypatch):
    """Killed once while the static encoder learns, and once while the transformer does."""

    class Fatal(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == 4:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("distill.train.loop.trainer.CheckpointCallback", Fatal)
        with pytest.raises(Killed), Run(tmp_path) as run:
            Job(run, recipe).train_student()
    assert not (tmp_path / "round-static/student/modules.json").exists()
    with Run(tmp_path) as run:
        Job(run, recipe).train_student()
    assert read_files(tmp_path / "student") == read_files(run_folder / "student")


def test_static_encoder_is_not_trained_again_for_another_weight(
    run_folder, recipe_file, encoder_folder, tmp_path
):
    again = tmp_path / "run"
    shutil.copytree(run_folder, again, symlinks=True)
    manifest = (again / "round-static/student/.stage/manifest.json").read_bytes()
    with Run(again, "stale") as run:
        heavier = adapt(recipe_file, encoder_folder, "student.add_static.weight=20")
        Job(run, heavier).train_student()
    assert (again / "round-static/student/.stage/manifest.json").read_bytes() == manifest
    light, heavy = (
        SentenceTransformer(str(path / "student")).encode_query(TEXTS)
        for path in (run_folder, again)
    )
    static = SentenceTransformer(str(again / "round-static/student")).encode_query(TEXTS)
    assert ((heavy * static).sum(1) > (light * static).sum(1)).all()
    assert ((heavy * static).sum(1) > 0.99).all()


def test_rounds_add_it_once_at_the_end(recipe_file, encoder_folder, tmp_path):
    recipe = adapt(recipe_file, encoder_folder, "relabel.rounds=2")
    with Run(tmp_path) as run:
        Job(run, recipe).train_student()
    lengths = [
        len(read_json(folder / "router_config.json")["structure"]["query"])
        for folder in (tmp_path / "round-1/student", tmp_path / "student")
    ]
    assert lengths == [3, 8]


@pytest.mark.bad_input("recipe", "add_static without route query, or to a static one", "named")
@pytest.mark.parametrize(
    ("setting", "said"),
    [("student.route=both", "set route: query"), ("student.architecture=static", "add_static is")],
)
def test_student_that_cannot_be_added_to_is_refused(recipe_file, encoder_folder, setting, said):
    with pytest.raises(UserError, match=said):
        adapt(recipe_file, encoder_folder, setting)
