"""What a person sees whose engine ended, and not the input."""

import copy

import pytest
import torch
from helpers.tiny_models import make_tiny_cross_encoder

from distill import cli
from distill.embed.open_embedder import load_encoder
from distill.errors import EngineFailure
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import EmbedderConfig
from distill.retrieve.cross_encoder import CrossEncoderJudge

FAILURE = EngineFailure("model 'm'", "vLLM's process ended", "a smaller llm.gpu_memory helps")


def test_engine_that_failed_is_reported_in_plain_words(monkeypatch, capsys):
    def fail(**settings):
        raise FAILURE

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert "model 'm': vLLM's process ended" in told
    assert "a smaller llm.gpu_memory helps" in told
    assert "the same command continues" in told
    assert "Traceback" not in told


FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of "
    "which 1.20 GiB is free."
)


@pytest.mark.bad_input("device", "a model that does not fit beside what its GPU holds", "exit 3")
@pytest.mark.parametrize("kind", ["embedder", "cross-encoder", "LLM"])
def test_model_that_does_not_fit_on_its_gpu_is_named(
    monkeypatch, capsys, tmp_path, kind, encoder_folder, llm_folder
):
    def fill(self, *args, **settings):
        raise torch.OutOfMemoryError(FULL)

    folder = {"embedder": encoder_folder, "LLM": llm_folder}.get(kind)
    folder = folder or make_tiny_cross_encoder(tmp_path / "cross")

    def load(**settings):
        monkeypatch.setattr(torch.nn.Module, "to", fill)
        if kind == "LLM":
            TransformersEngine(str(folder), "float32", "cpu")
        elif kind == "embedder":
            load_encoder(str(folder), EmbedderConfig(device="cpu"))
        else:
            CrossEncoderJudge(str(folder), 32, "cpu")

    monkeypatch.setattr(cli.cli, "main", load)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert f"model {str(folder)!r}: does not fit into memory ({FULL})" in told
    assert "nvidia-smi" in told
    assert "Traceback" not in told


def test_engine_failure_crosses_process_border_whole():
    again = copy.deepcopy(FAILURE)  # as it is sent to another process
    assert (again.where, again.what, again.remedy) == (FAILURE.where, FAILURE.what, FAILURE.remedy)
    assert str(again) == str(FAILURE)
