"""The 8-bit graph of OpenVINO, where the extra `openvino` is installed."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.export import int8
from distill.export.export import export_model
from distill.export.graph import open_graph
from distill.export.snippets import write_openvino_snippet

is_missing = any(importlib.util.find_spec(name) is None for name in ("openvino", "nncf"))
needs_openvino = pytest.mark.skipif(
    is_missing and "DISTILL_NEED_OPENVINO" not in os.environ,
    reason="the extra openvino is tested by `make test-openvino`",
)


@pytest.mark.bad_input("installation", "`--format openvino` without the extra", "refused")
def test_openvino_without_the_extra_is_refused_before_anything_is_written(
    model_folder, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    hide = {"openvino", "nncf"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hide else find(name)
    )
    with pytest.raises(UserError, match="openvino"):
        export_model(str(model_folder), tmp_path / "out", ["openvino"])
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def exported(model_folder, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("openvino") / "out"
    return out, export_model(str(model_folder), out, ["openvino"])


@needs_openvino
@pytest.mark.slow
def test_openvino_is_near_the_model_and_the_card_says_how_to_use_it(
    exported, model_folder, monkeypatch
):
    out, files = exported
    file = files["openvino"]
    assert file.parity.cosine_mean > 0.98
    weights = out / "openvino" / "embedding_int8.bin"
    assert file.bytes == (out / file.path).stat().st_size + weights.stat().st_size
    model = SentenceTransformer(str(model_folder), device="cpu")
    snippet = write_openvino_snippet(model, out.name, False, file.path)
    assert snippet in (out / "README.md").read_text()
    monkeypatch.chdir(out.parent)
    found: dict = {}
    exec(snippet, found)
    queries = model.encode_query(["how do bees tell others about flowers"])
    cosines = (queries * found["queries"]).sum(axis=1)
    assert cosines.min() > 0.95


@needs_openvino
@pytest.mark.slow
def test_vector_does_not_depend_on_its_batch(exported, model_folder, texts):
    out, files = exported
    model = SentenceTransformer(str(model_folder), device="cpu")
    graph = open_graph(out / files["openvino"].path, model)
    alone, together = (graph.encode_query(texts["query"], batch_size=n) for n in (1, 8))
    np.testing.assert_allclose(alone, together, atol=1e-2)


@needs_openvino
@pytest.mark.slow
def test_graph_that_is_not_like_the_model_is_refused(model_folder, tmp_path, monkeypatch):
    write = int8.write_graph

    def spoil(model, path):
        other = SentenceTransformer(str(model_folder), device="cpu")
        other[2].linear.weight.data.fill_(1)
        write(other, path)

    monkeypatch.setattr(int8, "write_graph", spoil)
    monkeypatch.setattr(int8, "VARIANTS", int8.VARIANTS[:1])
    with pytest.raises(UserError, match="is not the model"):
        export_model(str(model_folder), tmp_path / "out", ["openvino"])
    assert not (tmp_path / "out").exists()
