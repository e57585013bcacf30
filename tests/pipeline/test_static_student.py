"""A query encoder without a transformer, adapted to a corpus: the whole path."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.query_side_recipe import load_query_side
from helpers.student_bases import encode_elsewhere
from helpers.written_files import read_files
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer

from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.export.export import export_model
from distill.export.search_index import export_index
from distill.files.atomic import read_json
from distill.inspect.search import search_run
from distill.pipeline.job import Job
from distill.recipe import Recipe
from distill.store.run import Run
from distill.student.static.tokens import spell_tokens
from distill.train.loop.callbacks import CheckpointCallback

TEXTS = ["The heart pumps blood.", "A glacier is a river of ice."]


def adapt(recipe_file: Path, teacher: Path, *sets: str) -> Recipe:
    settings = [
        f"student={{encoder: {teacher}, architecture: static, route: query, vocabulary: corpus}}",
        "train={batch_size: 8, epochs: 4, device: cpu, checkpoint_steps: 3, learning_rate: 1e-2}",
        "train.objective={corpus_softmax: 1.0}",
    ]
    return load_query_side(recipe_file, teacher, *settings, *sets)


@pytest.fixture(scope="module")
def recipe(recipe_file, teacher_folder) -> Recipe:
    return adapt(recipe_file, teacher_folder)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe) -> Path:
    folder = tmp_path_factory.mktemp("static") / "run"
    with Run(folder) as run:
        Job(run, recipe).evaluate()
    return folder


def test_base_and_student_are_sentence_transformers_own_token_vectors(run_folder):
    base = SentenceTransformer(str(run_folder / "base"))
    assert [type(module) for module in base] == [StaticEmbedding, Normalize]
    student = SentenceTransformer(str(run_folder / "student"))
    assert isinstance(student[0], Router)
    kinds = [type(module) for module in student[0].sub_modules["query"]]
    assert kinds == [StaticEmbedding, Normalize]


def test_documents_are_the_teachers_and_training_moves_the_queries(run_folder, teacher_folder):
    base, student = (SentenceTransformer(str(run_folder / name)) for name in ("base", "student"))
    teacher = SentenceTransformer(str(teacher_folder))
    np.testing.assert_allclose(
        student.encode_document(TEXTS), teacher.encode_document(TEXTS), atol=1e-6
    )
    assert np.abs(student.encode_query(TEXTS) - base.encode_query(TEXTS)).max() > 1e-3


def test_student_loads_without_distill(run_folder, tmp_path):
    found = encode_elsewhere({"student": run_folder / "student"}, TEXTS, tmp_path)
    expected = SentenceTransformer(str(run_folder / "student")).encode_query(TEXTS)
    np.testing.assert_allclose(found["student"], expected, atol=1e-6)


def test_closed_form_is_nearer_to_the_teacher_than_chance(run_folder):
    figures = read_json(run_folder / "base" / ".stage" / "manifest.json")["figures"]
    assert figures["cosine_to_teacher"] > 0.5
    assert figures["parameters"] == figures["vocabulary"] * 48


def test_training_lowers_the_cross_entropy(run_folder):
    curve = read_json(run_folder / "student" / "training.json")["curve"]
    assert curve[-1]["corpus_softmax"] < curve[0]["corpus_softmax"]


def test_evaluation_compares_closed_form_student_and_teacher(run_folder):
    models = read_json(run_folder / "summary.json")["models"]
    assert {"base", "student", "teacher"} <= models.keys()
    assert models["student"]["parameters"] < models["teacher"]["parameters"]


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("step", [2, 5])
def test_killed_and_resumed_it_ends_with_the_undisturbed_bytes(
    tmp_path, recipe, run_folder, monkeypatch, step
):
    class Fatal(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == step:
                raise Killed

    with Run(tmp_path / "run") as run, monkeypatch.context() as patch:
        patch.setattr("distill.train.loop.trainer.CheckpointCallback", Fatal)
        with pytest.raises(Killed):
            Job(run, recipe).train_student()
    with Run(tmp_path / "run") as run:
        Job(run, recipe).train_student()
    assert read_files(tmp_path / "run" / "student") == read_files(run_folder / "student")


def test_token_of_no_text_points_where_the_teacher_puts_its_word(
    tmp_path, recipe_file, teacher_folder
):
    sets = ("student.vocabulary=all", "student.static.prior=token")
    with Run(tmp_path / "run") as run:
        Job(run, adapt(recipe_file, teacher_folder, *sets)).train_student()
    base = SentenceTransformer(str(tmp_path / "run" / "base"))
    figures = read_json(tmp_path / "run" / "base" / ".stage" / "manifest.json")["figures"]
    assert figures["vocabulary"] == figures["vocabulary_before"]
    tokenizer = base[0].tokenizer
    words = [word for word in spell_tokens(tokenizer, range(figures["vocabulary"])) if word]
    assert figures["tokens_spelled"] == len(words)
    teacher = SentenceTransformer(str(teacher_folder))
    expected = teacher.encode(["x"]) - teacher.encode(words).mean(axis=0)
    cosine = (base.encode(["x"]) * expected).sum() / np.linalg.norm(expected)
    assert cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.bad_input("recipe", "a static student with what only a transformer has", "named")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.layers=[0]", "layers is of a transformer"),
        ("student.dimensions=8", "dimensions is of a transformer"),
        ("student.lora={rank: 2}", "lora is of a transformer"),
        ("student.pooling=cls", "pooling is of a transformer"),
        ("student.route=both", "set route: query"),
        ("train.kernel=sdpa", "train.kernel: take it out"),
    ],
)
def test_static_student_with_what_a_transformer_has_is_refused(
    recipe_file, teacher_folder, setting, message
):
    with pytest.raises(UserError, match=message):
        adapt(recipe_file, teacher_folder, setting)


@pytest.mark.bad_input("model", "a tokenizer that knows no word of the corpus", "named")
def test_tokenizer_that_knows_no_word_of_the_corpus_is_refused(
    tmp_path, recipe_file, encoder_folder, teacher_folder
):
    stranger = SentenceTransformer(str(encoder_folder))
    stranger.save_pretrained(str(tmp_path / "stranger"))
    file = tmp_path / "stranger" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    words = [token for token in tokenizer.get_vocab() if token.startswith("[")]
    description = read_json(file)
    description["model"]["vocab"] = {
        **{word: tokenizer.token_to_id(word) for word in words},
        "ж": tokenizer.get_vocab_size(),
    }
    file.write_text(json.dumps(description))
    recipe = adapt(recipe_file, teacher_folder, f"student.encoder={tmp_path / 'stranger'}")
    with Run(tmp_path / "run") as run, pytest.raises(UserError, match="knows no word"):
        Job(run, recipe).train_student()
    assert not (tmp_path / "run" / "base" / "modules.json").exists()


def test_export_writes_both_routes_and_the_query_side_in_8_bits(run_folder, tmp_path):
    written = export_model(str(run_folder), tmp_path / "out", force=True)
    assert written.keys() == {"sentence-transformers", "int8"}
    small = tmp_path / "out" / "query-int8"
    found = encode_elsewhere({"small": small, "whole": tmp_path / "out"}, TEXTS, tmp_path)
    cosines = (found["small"] * found["whole"]).sum(1)
    np.testing.assert_allclose(cosines, 1, atol=1e-3)
    assert written["int8"].bytes < 0.5 * written["sentence-transformers"].bytes
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`query-int8` is the query encoder alone" in card
    assert "onnxruntime" not in card


@pytest.mark.bad_input("export", "a static query encoder as a graph", "named")
def test_static_query_encoder_has_no_graph(run_folder, tmp_path):
    with pytest.raises(UserError, match="is not a text transformer"):
        export_model(str(run_folder), tmp_path / "out", ["onnx"], force=True)


def test_search_and_an_exported_index_use_the_static_queries(run_folder, tmp_path):
    found = search_run(run_folder, "what pumps blood", 3)
    assert set(found.hits) == {"student", "teacher"}
    student = load_eval_model(run_folder / "student", device="cpu")
    own = SentenceTransformer(str(run_folder / "student")).encode_query(TEXTS)
    np.testing.assert_allclose(student.encode(TEXTS, "query"), own, atol=1e-6)
    export_index(str(run_folder), tmp_path / "index", force=True)
    alone = SentenceTransformer(str(tmp_path / "index" / "query_encoder"))
    np.testing.assert_allclose(alone.encode_query(TEXTS), own, atol=1e-6)
