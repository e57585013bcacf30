"""What is not like the model is refused, and then nothing is left behind."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.export import export
from distill.export.parity import (
    Parity,
    compare_vectors,
    refuse_float,
    refuse_int8,
    with_scores,
)


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


def test_a_model_is_like_itself(model, texts):
    parity = compare_vectors(model, model, texts)
    assert parity.texts == 10
    assert parity.cosine_min == pytest.approx(1)


def test_one_text_that_differs_is_enough_to_refuse_a_float_graph(model, model_folder, texts):
    parity = compare_vectors(model, spoilt(model_folder, 0.05), texts)
    assert 0.5 < parity.cosine_min < 0.999
    with pytest.raises(UserError, match=rf"lowest {parity.cosine_min:.5f}.*0.999 or more"):
        refuse_float(parity, "onnx")


def test_a_vector_that_is_no_number_is_refused(model, model_folder, texts):
    other = spoilt(model_folder, 0.0)
    other[2].linear.bias.data[0] = np.nan
    with pytest.raises(UserError, match="lowest -1"):
        refuse_float(compare_vectors(model, other, texts), "onnx")


def test_int8_is_held_to_the_score_where_there_is_a_task(model, model_folder, make_task):
    other = spoilt(model_folder, 0.0)
    other[2].linear.weight.data[2:] = 0  # two dimensions for twelve texts
    other[2].linear.bias.data[:] = 0
    found = with_scores(Parity(1, 0.99, 0.99), model, other, make_task())
    assert found.metric == "ndcg_at_10"
    assert 0 < found.score < found.score_of_model <= 1
    with pytest.raises(UserError, match=r"loss \d+\.\d\d%; at most 1% of the score"):
        refuse_int8(found, "int8")
    same = with_scores(Parity(1, 0.5, 0.5), model, model, make_task())
    assert same.loss == 0
    refuse_int8(same, "int8")  # far vectors that rank alike are no loss


def test_int8_is_held_to_the_cosine_where_there_is_none():
    refuse_int8(Parity(9, 0.981, 0.9), "int8")
    with pytest.raises(UserError, match=r"mean 0\.97900.*0\.98 or more"):
        refuse_int8(Parity(9, 0.979, 0.9), "int8")


def test_a_refused_form_leaves_nothing(model_folder, tmp_path, monkeypatch):
    """Also of the forms that were good."""

    def broken(graph, path, signed):
        export.write_graph(spoilt(model_folder, 2.0), path)

    monkeypatch.setattr(export, "quantise", broken)
    with pytest.raises(UserError, match="nothing is written"):
        export.export_model(str(model_folder), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_unsigned_weights_are_tried_where_signed_ones_are_too_far(
    model_folder, tmp_path, monkeypatch
):
    quantise, tried = export.quantise, []

    def overflowing(graph, path, signed):
        tried.append(signed)
        if signed:
            export.write_graph(spoilt(model_folder, 2.0), path)
        else:
            quantise(graph, path, signed)

    monkeypatch.setattr(export, "quantise", overflowing)
    files = export.export_model(str(model_folder), tmp_path / "out", ["int8"])
    assert tried == [True, False]
    assert files["int8"].parity.cosine_mean >= 0.98
