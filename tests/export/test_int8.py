"""The ladder of 8-bit forms: the first that is near enough is shipped."""

import onnx
import pytest
import torch
from sentence_transformers import SentenceTransformer

from distill.export import int8, parity
from distill.export.graph import open_graph, write_graph
from distill.export.int8 import VARIANTS, find_narrowing_products, quantize_graph, write_int8
from distill.export.parity import compare_vectors


@pytest.fixture(scope="module")
def model(model_folder) -> SentenceTransformer:
    return SentenceTransformer(str(model_folder), device="cpu")


@pytest.fixture(scope="module")
def graph(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "float.onnx"
    write_graph(model, path)
    return path


def products(path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node if "MatMul" in node.op_type]


def test_int8_can_leave_narrowing_products_in_float(graph, tmp_path, model, texts):
    layers = len(model[0].auto_model.encoder.layer)
    named = find_narrowing_products(graph)
    assert len(named) == layers
    assert all("/output/dense/" in name and "attention" not in name for name in named)
    for form in VARIANTS:
        quantize_graph(graph, tmp_path / f"{form}.onnx", form)
    whole, narrow, unsigned = (tmp_path / f"{form}.onnx" for form in VARIANTS)
    assert products(narrow).count("MatMul") == products(whole).count("MatMul") + layers
    assert products(narrow) == products(unsigned)
    for path in (whole, narrow, unsigned):
        near = compare_vectors(model, open_graph(path, model), texts)
        assert 0.9 < near.cosine_mean < 0.99999


@pytest.mark.parametrize("good", [0, 1, 2])
def test_int8_takes_the_first_form_that_keeps_the_score(
    model, model_folder, texts, tmp_path, make_task, monkeypatch, good
):
    task, tried, scored = make_task(), [], []

    def quantised(graph, path, form):
        tried.append(form)
        spoilt = SentenceTransformer(str(model_folder), device="cpu")
        if form != VARIANTS[good]:
            torch.nn.init.ones_(spoilt[2].linear.weight)
        write_graph(spoilt, path)

    score = parity.score_on_task
    monkeypatch.setattr(int8, "quantize_graph", quantised)
    monkeypatch.setattr(parity, "score_on_task", lambda m, t: scored.append(m) or score(m, t))
    form, found = write_int8(model, tmp_path / "int8.onnx", texts, task)
    assert form == VARIANTS[good]
    assert tried == list(VARIANTS[: good + 1])
    assert found.loss == 0
    assert scored.count(model) == 1  # not again with each form
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
