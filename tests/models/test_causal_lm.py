"""A GGUF file becomes a folder that holds the same model, once."""

import shutil

import pytest
import torch
from conftest import SMOLLM2

from distill.errors import UserError
from distill.models import causal_lm
from distill.models.causal_lm import make_model_folder
from distill.models.loading import load_causal_lm, load_gguf
from distill.models.reference import resolve

TEXTS = [
    "Bees dance.",
    "  two spaces,\n\n\ta tab and\r\n an end",
    "naïve 漢字 🐝",
    "<|im_start|>user",
]


@pytest.mark.slow
def test_gguf_reads_and_computes_as_the_file_does():
    folder = make_model_folder(SMOLLM2, torch.float32)
    model, tokenizer = load_causal_lm(folder, torch.float32, "cpu")
    original, of_file = load_gguf(resolve(SMOLLM2), torch.float32)
    weights, others = model.state_dict(), original.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == of_file(text)["input_ids"]
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == of_file.decode(ids)
    chat = [{"role": "user", "content": TEXTS[0]}]
    given = {"tokenize": False, "add_generation_prompt": True}
    assert tokenizer.apply_chat_template(chat, **given) == of_file.apply_chat_template(
        chat, **given
    )
    for name in ("bos_token", "eos_token", "pad_token", "unk_token", "model_max_length"):
        if name != "pad_token":  # load_causal_lm gives one to who has none
            assert getattr(tokenizer, name) == getattr(of_file, name), name
    assert model.generation_config.eos_token_id == original.generation_config.eos_token_id


@pytest.fixture
def file(tmp_path, monkeypatch, llm_folder):
    """A GGUF file by name, which a stand-in for transformers' reader reads."""
    loads = []

    def read(path, dtype):
        loads.append(path)
        return load_causal_lm(llm_folder, dtype, "cpu")

    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("distill.models.loading.load_gguf", read)
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF")
    return path, loads


def test_gguf_is_converted_once_for_each_kind_of_number(file):
    path, loads = file
    folders = [make_model_folder(str(path), torch.float32) for _ in range(2)]
    assert folders[0] == folders[1]
    assert len(loads) == 1
    assert list(folders[0].glob("*.safetensors"))
    assert make_model_folder(str(path), torch.bfloat16) != folders[0]
    path.write_bytes(b"GGUF of another model")
    assert make_model_folder(str(path), torch.float32) != folders[0]


def test_converted_model_is_read_from_a_cache_that_cannot_be_written(file):
    path, _ = file
    folder = make_model_folder(str(path), torch.float32)
    for lock in folder.parent.glob("*.lock"):
        lock.unlink()
    assert make_model_folder(str(path), torch.float32) == folder
    assert list(folder.parent.iterdir()) == [folder]


def test_conversion_that_was_killed_is_begun_again(file, monkeypatch):
    path, loads = file
    with monkeypatch.context() as patched:
        patched.setattr(
            "distill.files.atomic.os.replace",
            lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            make_model_folder(str(path), torch.float32)
    folder = make_model_folder(str(path), torch.float32)
    assert len(loads) == 2
    assert not list(folder.parent.glob(".*.new"))


@pytest.mark.bad_input(
    "disk", "too little room for a converted model", "refused before anything is written"
)
def test_full_disk_is_said_before_anything_is_written(file, monkeypatch):
    path, _ = file
    full = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(causal_lm.shutil, "disk_usage", lambda where: full)
    with pytest.raises(UserError, match=r"no room .* small.gguf") as caught:
        make_model_folder(str(path), torch.float32)
    assert "DISTILL_CACHE" in caught.value.remedy
