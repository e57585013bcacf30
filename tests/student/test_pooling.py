"""What becomes of the token states: which tokens count, and where a text ends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMOLLM2
from helpers.student_bases import load_student, make_base, make_student_recipe
from helpers.tiny_architectures import DECODERS, make_tiny_decoder
from helpers.tiny_models import TEXTS
from pydantic import ValidationError
from transformers import AutoTokenizer

from distill.errors import UserError
from distill.models.causal_lm import make_model_folder
from distill.recipe import load_recipe
from distill.student.build import build_student, list_prompts
from distill.student.pooling import check_prompts, count_prompt_tokens, leave_prompts_out

PROMPT = {"query_template": "Instruct: {task}\nQuery:\n{query}", "default_task": "Find it."}
LATENT = {"pooling": "latent", "latent": {"latents": 6, "heads": 2}}


@pytest.fixture
def decoder(tmp_path):
    return make_tiny_decoder(tmp_path / "decoder")


def states(model, text: str) -> torch.Tensor:
    """(tokens, width), as the transformer gives them."""
    features = model.preprocess([text])
    with torch.inference_mode():
        return model[0](features)["token_embeddings"][0]


def unit(vector: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vector, dim=-1).numpy()


def test_pooling_is_what_it_is_called(decoder):
    expected = {"mean": lambda s: s.mean(0), "last": lambda s: s[-1], "cls": lambda s: s[0]}
    for pooling, by_hand in expected.items():
        model = build_student(make_student_recipe(decoder, pooling=pooling).student, seed=1)
        for text, vector in zip(TEXTS, model.encode(TEXTS), strict=True):
            assert np.allclose(vector, unit(by_hand(states(model, text))), atol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_last_token_pooling_ends_in_the_end_of_sequence_also_when_cut_and_after_saving(
    tmp_path, family
):
    make_tiny_decoder(tmp_path / "decoder", family)
    student = {"pooling": "last", "attention": "causal", "max_tokens": 12}
    model = load_student(make_base(tmp_path / "run", tmp_path / "decoder", **student))
    ids = model.preprocess(TEXTS)
    assert ids["input_ids"].shape[1] == 12
    assert set(ids["input_ids"][:, -1].tolist()) == {model.tokenizer.eos_token_id}
    short = model.preprocess(["The sea."])["input_ids"][0].tolist()
    assert short.count(model.tokenizer.eos_token_id) == 1


def test_token_that_begins_a_text_stays_with_last_token_pooling(tmp_path, decoder):
    """Llama's and Gemma's tokenizers begin a text with a token of their own."""
    AutoTokenizer.from_pretrained(decoder, add_bos_token=True).save_pretrained(decoder)
    model = load_student(make_base(tmp_path / "run", decoder, pooling="last"))
    ids = model.preprocess(["The sea."])["input_ids"][0].tolist()
    ends = [model.tokenizer.bos_token_id, model.tokenizer.eos_token_id]
    assert [ids[0], ids[-1]] == ends
    assert not set(ends) & set(ids[1:-1])


def test_encoder_already_ends_in_a_special_token(encoder_folder):
    model = build_student(make_student_recipe(encoder_folder, pooling="last").student, seed=1)
    ids = model.preprocess(["The sea."])["input_ids"][0].tolist()
    assert model.tokenizer.convert_ids_to_tokens(ids).count("[SEP]") == 1


def test_decoder_gets_padding_without_giving_a_row_up(tmp_path, decoder):
    model = load_student(make_base(tmp_path / "run", decoder))
    assert model.tokenizer.pad_token == model.tokenizer.eos_token
    assert model[0].model.get_input_embeddings().padding_idx is None


@pytest.mark.bad_input("models", "pooling of the last token without an end token", "refused")
def test_no_end_of_sequence_is_refused(tmp_path, decoder):
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(decoder)
    with pytest.raises(UserError, match="no end of sequence"):
        make_base(tmp_path / "run", decoder, pooling="last")


@pytest.mark.parametrize("student", [{"pooling": "last"}, LATENT, {"pooling": "mean"}])
def test_padding_on_either_side_gives_the_same_vectors(decoder, student):
    model = build_student(make_student_recipe(decoder, **student).student, seed=1)
    right = model.encode(TEXTS)
    model.tokenizer.padding_side = "left"
    assert np.allclose(model.encode(TEXTS), right, atol=1e-5)


@pytest.mark.parametrize("student", [{"pooling": "mean"}, LATENT])
def test_prompts_are_pooled_or_not(decoder, student):
    within, without = (
        build_student(
            make_student_recipe(decoder, **PROMPT, **student, pool_prompt=pooled).student, 1
        )
        for pooled in (True, False)
    )
    assert not np.allclose(within.encode_query(TEXTS), without.encode_query(TEXTS), atol=1e-3)
    prompt = without.prompts["query"]
    features = without.preprocess([prompt + TEXTS[0]])
    with torch.inference_mode():
        tokens = without[0](features)
        if student["pooling"] == "latent":
            tokens = without[1](tokens)
        body = tokens["token_embeddings"][0, count_prompt_tokens(without.tokenizer, prompt) :]
    assert np.allclose(without.encode_query(TEXTS[0]), unit(body.mean(0)), atol=1e-5)


def test_pooling_in_training_leaves_each_rows_own_prompt_out(decoder):
    """As encoding does with one prompt at a time, on either side of padding, the features kept."""
    model = build_student(make_student_recipe(decoder, **PROMPT, pool_prompt=False).student, seed=1)
    prompts = ["Instruct: Find it.\nQuery:\n", "", "Another, a longer one.\nQuery:\n"]
    expected = [model.encode(TEXTS[i], prompt=prompts[i]) for i in range(3)]
    encoded = {prompt: model.encode(TEXTS, prompt=prompt) for prompt in prompts}
    hook = leave_prompts_out(model)
    for side in ("right", "left"):
        model.tokenizer.padding_side = side
        features = model.preprocess([prompts[i] + TEXTS[i] for i in range(3)])
        features["prompt_length"] = torch.tensor(
            [count_prompt_tokens(model.tokenizer, prompt) for prompt in prompts]
        )
        before = {name: features[name].clone() for name in ("attention_mask", "prompt_length")}
        with torch.inference_mode():
            found = model(features)["sentence_embedding"]
        assert np.allclose(found.numpy(), np.stack(expected), atol=1e-5)
        assert all(torch.equal(features[name], value) for name, value in before.items())
    for prompt in prompts:  # and encoding on the way, as validation does, is what it was
        again = model.encode(TEXTS, prompt=prompt)
        assert np.allclose(again, encoded[prompt], atol=1e-6)
    hook.remove()


def test_prompt_that_shares_a_token_with_its_text_is_refused_where_it_is_left_out(
    tmp_path, decoder
):
    student = {"query_template": "Query: {query}", "pool_prompt": False}
    with pytest.raises(UserError, match="first word would be left out"):
        make_base(tmp_path / "run", decoder, **student)
    make_base(tmp_path / "pooled", decoder, query_template="Query: {query}")


@pytest.mark.parametrize(
    ("student", "fault"),
    [
        ({"pooling": "last", "pool_prompt": False}, "pool_prompt"),
        ({"pooling": "cls", "attention": "causal"}, "first token sees no other"),
    ],
)
def test_pooling_that_contradicts_prompts_or_attention_is_refused(student, fault):
    with pytest.raises(ValidationError, match=fault):
        make_student_recipe("encoder", **student)


@pytest.mark.slow
def test_prompt_of_nv_embed_is_left_out_whole():
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "nv-embed-tiny.yaml")
    tokenizer = AutoTokenizer.from_pretrained(make_model_folder(SMOLLM2, torch.float32))
    check_prompts(tokenizer, recipe.student, list_prompts(recipe.student))
