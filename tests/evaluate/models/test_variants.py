"""Variants: scores of what would be stored, from vectors that are encoded once."""

import numpy as np
import pytest
from helpers.mteb_calls import encode_as_mteb, score_as_mteb
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.embed.local import LocalEmbedder
from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.models.quantize import Quantizer, VectorFormat
from distill.evaluate.models.variants import ASYMMETRIC, make_asymmetric, make_variants
from distill.evaluate.score import score_tasks
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")


@pytest.fixture
def student(prompted_folder):
    return load_eval_model(prompted_folder, device="cpu")


@pytest.fixture
def teacher(tmp_path):
    folder = make_tiny_encoder(tmp_path / "teacher", seed=7, layers=4, prompts={"query": "owl "})
    return load_eval_model(folder, device="cpu")


@pytest.fixture
def variants(student):
    return make_variants(student, [16, 8], ["int8", "binary"])


def test_variants_have_names_widths_and_bytes(student, variants):
    figures = {name: (v.dimensions, v.bytes_per_vector) for name, v in variants.items()}
    assert figures == {
        "student@16": (16, 64),
        "student@8": (8, 32),
        "student int8": (32, 32),
        "student binary": (32, 4),
    }
    assert (student.dimensions, student.bytes_per_vector) == (32, 128)
    assert VectorFormat(precision="binary").count_bytes(12) == 2, "whole bytes"


@pytest.mark.bad_input("evaluation", "a width beyond the model's", "refused")
@pytest.mark.parametrize("width", [0, 32, 64])
def test_width_that_is_none_is_refused(student, width):
    with pytest.raises(UserError, match="from 1 to 31"):
        make_variants(student, [width], [])


def test_narrow_variant_scores_as_the_truncated_model(
    student, variants, prompted_folder, task_data
):
    task = load_task("SciFact", task_data)
    truncated = SentenceTransformer(str(prompted_folder), device="cpu", truncate_dim=8)
    own = score_as_mteb(mteb.models.SentenceTransformerEncoderWrapper(truncated), task)
    assert score_as_mteb(wrap_for_mteb(variants["student@8"]), task) == own
    assert own != score_as_mteb(wrap_for_mteb(student), task)


def vectors_of(eval_model, side=None, task="SciFact"):
    return encode_as_mteb(wrap_for_mteb(eval_model), TEXTS, task, side)


def test_int8_scores_are_those_of_faiss_scalar_quantizer(student, variants):
    faiss = pytest.importorskip("faiss")
    model = wrap_for_mteb(variants["student int8"])
    queries, documents = (encode_as_mteb(model, TEXTS, side=side) for side in ("query", "document"))
    # Queries are not stored.
    np.testing.assert_allclose(queries, vectors_of(student, "query"), atol=1e-6)

    index = faiss.IndexScalarQuantizer(
        32, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    exact = vectors_of(student, "document")
    index.train(exact)
    index.add(exact)
    found, rows = index.search(queries, len(TEXTS))
    ours = np.take_along_axis(model.similarity(queries, documents).numpy(), rows, axis=1)
    # A value on the border of a step may fall to either side.
    np.testing.assert_allclose(ours, found, atol=5e-4)
    assert not np.allclose(documents, exact, atol=1e-6)


def test_binary_is_signs_under_the_querys_floats_and_hamming_between_stored(student, variants):
    exact = vectors_of(student, "document")
    signs = np.where(exact > 0, 1, -1)
    model = wrap_for_mteb(variants["student binary"])
    queries, documents = (encode_as_mteb(model, TEXTS, side=side) for side in ("query", "document"))
    expected = queries @ signs.T / np.sqrt(32)
    np.testing.assert_allclose(model.similarity(queries, documents), expected, atol=1e-6)

    stored = encode_as_mteb(model, TEXTS, "STSBenchmark")
    bare = vectors_of(student, None, "STSBenchmark") > 0
    hamming = (bare[:, None] != bare[None]).sum(axis=2)
    np.testing.assert_allclose(model.similarity(stored, stored), 1 - hamming / 16, atol=1e-6)


def test_later_block_of_a_corpus_has_the_ranges_of_the_first(student):
    exact = vectors_of(student, "document")
    storage = Quantizer(VectorFormat(precision="int8"))
    first = storage.quantize(exact[:8], "document", "a corpus")
    later = storage.quantize(exact[8:], "document", "a corpus")
    low, high = exact[:8].min(axis=0), exact[:8].max(axis=0)
    step = (high - low) / 255
    assert (np.abs(first - exact[:8]) <= 0.51 * step).all()
    inside = np.clip(exact[8:], low, high)
    assert (np.abs(later - inside) <= 0.51 * step).all()
    other = storage.quantize(exact[8:], "document", "another corpus")
    assert not np.array_equal(other, later)


def test_variants_cost_no_encoding_and_their_results_stand_apart(
    student, variants, task_data, tmp_path, monkeypatch
):
    task = load_task("SciFact", task_data)
    score_as_mteb(wrap_for_mteb(student, tmp_path / "vectors"), task)

    def refuse(*args):
        raise AssertionError("encoded")

    monkeypatch.setattr(LocalEmbedder, "embed", refuse)
    cache = mteb.ResultCache(tmp_path)
    found = {}
    for name, variant in variants.items():
        model = wrap_for_mteb(variant, tmp_path / "vectors")
        settings = {"co2_tracker": False, "show_progress_bar": False}
        found[name] = mteb.evaluate(model, task, cache=cache, **settings).task_results[0]
    back = cache.load_results(load_experiments="match_name").model_results
    assert {m.model_name for m in back} == {student.name}
    read = {
        (m.model_meta.embed_dim, (m.model_meta.experiment_kwargs or {}).get("output_dtypes")): m
        for m in back
    }
    assert read.keys() == {(16, None), (8, None), (32, "int8"), (32, "binary")}
    for name, variant in variants.items():
        key = (variant.dimensions, variant.experiment.get("output_dtypes"))
        assert read[key].task_results[0].get_score() == found[name].get_score()


def test_students_queries_over_the_teachers_documents(student, teacher, tmp_path):
    both = make_asymmetric(student, teacher)
    model = wrap_for_mteb(both, tmp_path)
    assert np.array_equal(encode_as_mteb(model, TEXTS, side="query"), vectors_of(student, "query"))
    assert np.array_equal(
        encode_as_mteb(model, TEXTS, side="document"), vectors_of(teacher, "document")
    )
    assert np.array_equal(
        encode_as_mteb(model, TEXTS, "STSBenchmark"), vectors_of(student, None, "STSBenchmark")
    )
    assert teacher.name in both.experiment["documents"]
    assert ASYMMETRIC == "student queries, teacher documents"


@pytest.mark.bad_input("evaluation", "student and teacher of unequal widths", "refused")
def test_unequal_widths_are_refused_with_the_remedy(student, teacher_folder):
    with pytest.raises(UserError, match=r"32 dimensions.*48") as refused:
        make_asymmetric(student, load_eval_model(teacher_folder))
    assert "student.dimensions 48" in refused.value.remedy


def test_score_tasks_takes_them_as_contenders(student, teacher, variants, task_data, tmp_path):
    tasks = [load_task("SciFact", task_data)]
    every = [student, *variants.values(), make_asymmetric(student, teacher)]
    first = [score_tasks(eval_model, tasks, tmp_path)[0].score for eval_model in every]
    assert len(list(tmp_path.glob("results/*/*/**/SciFact.json"))) == 6
    assert [score_tasks(eval_model, tasks, tmp_path)[0].score for eval_model in every] == first
