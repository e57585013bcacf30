"""A causal language model's files that are not all there, or not what they were."""

import shutil

import pytest
import torch
from helpers.tiny_models import add_own_code
from safetensors.torch import load_file, save_file

from distill.errors import UserError
from distill.models.loading import load_causal_lm


def drop(weights):
    return {name: value for name, value in weights.items() if "layers.1.mlp" not in name}


def reshape(weights):
    return {name: value[:-1] if "mlp" in name else value for name, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [(drop, r"lacks weights, which would be random: .*layers\.1\.mlp"), (reshape, "is not a")],
)
@pytest.mark.bad_input("models", "an LLM that lacks weights, or has others", "named, exit 2")
def test_weights_that_are_missing_or_of_another_shape_are_refused(
    tmp_path, llm_folder, change, said
):
    folder = shutil.copytree(llm_folder, tmp_path / "llm")
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=said):
        load_causal_lm(folder, torch.float32, "cpu")


@pytest.mark.parametrize("data", [b"", b"garbage" * 100, None], ids=["empty", "garbage", "cut"])
@pytest.mark.bad_input("models", "an LLM whose weights are cut or garbage", "named, exit 2")
def test_weights_that_cannot_be_read_are_refused(tmp_path, llm_folder, data):
    folder = shutil.copytree(llm_folder, tmp_path / "llm")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000] if data is None else data)
    with pytest.raises(UserError, match="is not a causal language model"):
        load_causal_lm(folder, torch.float32, "cpu")


def test_whole_model_loads(llm_folder):
    load_causal_lm(llm_folder, torch.float32, "cpu")


@pytest.mark.bad_input("models", "an LLM with code of its own", "refused, never run")
def test_code_of_an_llm_is_not_run(tmp_path, llm_folder):
    folder = shutil.copytree(llm_folder, tmp_path / "llm")
    add_own_code(folder, module=False)
    with pytest.raises(UserError, match="needs code that came with it") as caught:
        load_causal_lm(folder, torch.float32, "cpu")
    assert "trust_remote_code" not in str(caught.value)
