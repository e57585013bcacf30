"""NV-Embed in its released files gives the vectors that its released code computes."""

import numpy as np
import pytest
import torch
from helpers.published_models import WIDTH, edit_json, make_nv_embed
from helpers.tiny_models import TEXTS
from safetensors.torch import load_file, save_file

from distill.embed.open_embedder import load_encoder
from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.models.nv_embed.convert import convert_nv_embed
from distill.recipe import EmbedderConfig

FORMER_MODULES = {
    "distill.models.latent_attention": "distill.student.latent_attention",
    "distill.models.nv_embed.pooling": "distill.nv_embed.pooling",
}
TEMPLATE = "Instruct: {task}\nQuery: {query}"


@pytest.fixture
def released(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "NV-Embed-v2", make_nv_embed(tmp_path / "NV-Embed-v2")


def as_released(parts, text, instruction=""):
    """The published computation: all tokens see each other, the mean leaves so many tokens out as
    the instruction has without the beginning of the sequence."""
    transformer, attention, tokenizer = parts
    ids = tokenizer(instruction + text + tokenizer.eos_token, return_tensors="pt")["input_ids"]
    zeros = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    with torch.no_grad():
        states = transformer(input_ids=ids, attention_mask=zeros).last_hidden_state[0]
        states = attention(states)
    left_out = len(tokenizer.tokenize(instruction)) if instruction else 0
    vector = states[left_out:].mean(dim=0)
    return (vector / vector.norm()).numpy()


def test_vectors_are_those_of_the_released_code(released):
    folder, parts = released
    settings = EmbedderConfig(device="cpu", max_tokens=64, query_template=TEMPLATE)
    encoder = load_encoder(str(folder), settings)
    found = encoder.encode(TEXTS, "document")
    expected = [as_released(parts, text) for text in TEXTS]
    assert np.allclose(found, expected, atol=1e-5)
    tasks = ["Find what bees do.", "Find what ice does."] * (len(TEXTS) // 2)
    found = encoder.encode(TEXTS, "query", tasks)
    expected = [
        as_released(parts, text, f"Instruct: {task}\nQuery: ")
        for text, task in zip(TEXTS, tasks, strict=True)
    ]
    assert np.allclose(found, expected, atol=1e-5)


def test_nv_embed_is_converted_once_and_evaluated_as_it_is_trained_with(released):
    folder, _ = released
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    converted = convert_nv_embed(str(folder), folder)
    before = {path: path.stat().st_mtime_ns for path in converted.rglob("*")}
    eval_model = load_eval_model(
        folder, settings=EmbedderConfig(device="cpu", query_template=TEMPLATE)
    )
    assert {path: path.stat().st_mtime_ns for path in converted.rglob("*")} == before
    encoder = load_encoder(str(folder), EmbedderConfig(device="cpu", query_template=TEMPLATE))
    prompt = eval_model.prompts.wording.write_query_prompt("Find bees.")
    assert prompt == "Instruct: Find bees.\nQuery: "
    one = eval_model.embedder.embed(["bees dance"], prompt, "query")
    assert np.allclose(one, encoder.encode(["bees dance"], "query", ["Find bees."]), atol=1e-6)
    assert eval_model.dimensions == WIDTH
    assert eval_model.licence == "cc-by-nc-4.0"


def test_conversion_that_an_earlier_version_cached_still_loads(released):
    folder, _ = released
    settings = EmbedderConfig(device="cpu", max_tokens=64)
    expected = load_encoder(str(folder), settings).encode(TEXTS, "document")
    modules = convert_nv_embed(str(folder), folder) / "modules.json"
    formerly = modules.read_text()
    for new, old in FORMER_MODULES.items():
        assert new in formerly
        formerly = formerly.replace(new, old)
    modules.write_text(formerly)
    vectors = load_encoder(str(folder), settings).encode(TEXTS, "document")
    assert np.array_equal(vectors, expected)


@pytest.mark.bad_input("model", "an NV-Embed whose file is cut off", "refused by name")
def test_damaged_file_is_refused(released):
    folder, _ = released
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match="is not NV-Embed as it is known here"):
        load_encoder(str(folder), EmbedderConfig(device="cpu"))


@pytest.mark.bad_input("model", "an NV-Embed with other weights than are known", "refused")
@pytest.mark.parametrize("other", ["one more", "one less", "another shape", "other sizes"])
def test_weights_that_are_not_known_are_refused(released, other):
    folder, _ = released
    path = folder / "model-00001-of-00002.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    if other == "one more":
        weights["latent_attention_model.further"] = torch.zeros(1)
    elif other == "one less":
        del weights[name]
    elif other == "another shape":
        weights[name] = torch.zeros(3, 3)
    else:
        edit_json(folder / "config.json", latent_attention_config={"hidden_dim": 7})
    save_file(weights, path)
    with pytest.raises(UserError, match="is not NV-Embed as it is known here"):
        load_encoder(str(folder), EmbedderConfig(device="cpu"))
    cache = folder.parent / "cache" / "safetensors"
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
