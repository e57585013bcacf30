"""What is not like the model is refused, and then nothing is left behind."""

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.export import export, int8, parity
from distill.export.graph import write_graph
from distill.export.parity import (
    Parity,
    add_task_score,
    compare_vectors,
    refuse_float,
    refuse_int8,
    score_on_task,
    score_original,
)
from distill.tasks import load_task


@pytest.fixture
def model(model_folder) -> SentenceTransformer:
    return SentenceTransformer(str(model_folder), device="cpu")


def spoilt(model_folder, share: float) -> SentenceTransformer:
    """The model with its projection turned away by so much."""
    other = SentenceTransformer(str(model_folder), device="cpu")
    torch.manual_seed(0)
    weight = other[2].linear.weight.data
    weight += share * torch.randn_like(weight) * weight.norm(dim=1, keepdim=True)
    return other


def test_parity_of_a_model_with_itself(model, texts):
    parity = compare_vectors(model, model, texts)
    assert parity.texts == 10
    assert parity.cosine_min == pytest.approx(1)


@pytest.mark.bad_input(
    "models", "an ONNX graph that differs on one text", "refused, nothing written"
)
def test_float_graph_is_refused_for_one_text_that_differs(model, model_folder, texts):
    parity = compare_vectors(model, spoilt(model_folder, 0.05), texts)
    assert 0.5 < parity.cosine_min < 0.999
    with pytest.raises(UserError, match=rf"lowest {parity.cosine_min:.5f}.*0.999 or more"):
        refuse_float(parity, "onnx")


@pytest.mark.bad_input("models", "a graph whose vectors are NaN", "refused")
def test_vector_that_is_no_number_is_refused(model, model_folder, texts):
    other = spoilt(model_folder, 0.0)
    other[2].linear.bias.data[0] = np.nan
    with pytest.raises(UserError, match="lowest -1"):
        refuse_float(compare_vectors(model, other, texts), "onnx")


@pytest.mark.bad_input("models", "int8 that loses too much score", "refused")
def test_int8_is_held_to_the_score_where_there_is_a_task(model, model_folder, make_task):
    other = spoilt(model_folder, 0.0)
    other[2].linear.weight.data[2:] = 0  # two dimensions for twelve texts
    other[2].linear.bias.data[:] = 0
    task = make_task()
    score = score_original(model, task)
    found = add_task_score(Parity(1, 0.99, 0.99), other, task, score)
    assert found.metric == "ndcg_at_10"
    assert 0 < found.score < found.score_of_model <= 1
    with pytest.raises(UserError, match=r"loss \d+\.\d\d%; at most 1% of the score"):
        refuse_int8(found, "int8")
    same = add_task_score(Parity(1, 0.5, 0.5), model, task, score)
    assert same.loss == 0
    refuse_int8(same, "int8")  # far vectors that rank alike are no loss


@pytest.mark.parametrize("score", [0.0, -0.2, np.nan])
def test_task_that_the_model_fails_on_cannot_say_what_is_lost(
    model_folder, tmp_path, make_task, run_folder, monkeypatch, score
):
    monkeypatch.setattr(parity, "score_on_task", lambda *models: score)
    with pytest.raises(UserError, match=r"itself scores(.|\n)*name another with --task"):
        export.export_model(
            str(model_folder), tmp_path / "out", ["int8"], "mine", run_folder / "tasks"
        )
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]


def test_parity_scores_models_on_the_same_samples_of_a_task(model, tmp_path):
    """A clustering's score is a mean over texts drawn anew."""
    rows = "".join(f"{text}\t{i % 3}\n" for i, text in enumerate(TEXTS))
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "data.tsv").write_text(f"text\tlabel\n{rows}")
    task = load_task("groups", tmp_path)
    assert score_on_task(model, task) == score_on_task(model, task)


def test_parity_of_int8_is_judged_by_the_cosine_without_a_task():
    refuse_int8(Parity(9, 0.981, 0.9), "int8")
    with pytest.raises(UserError, match=r"mean 0\.97900.*0\.98 or more"):
        refuse_int8(Parity(9, 0.979, 0.9), "int8")


@pytest.mark.bad_input("models", "an export that fails half way", "nothing is left")
def test_refused_form_leaves_nothing(model_folder, tmp_path, monkeypatch):
    """Also of the forms that were good."""

    def broken(graph, path, form):
        write_graph(spoilt(model_folder, 2.0), path)

    monkeypatch.setattr(int8, "quantize_graph", broken)
    with pytest.raises(UserError, match="nothing is written"):
        export.export_model(str(model_folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
