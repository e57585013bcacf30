"""What computes attention in training."""

import pytest
from helpers.tiny_architectures import make_tiny_decoder
from helpers.training_by_hand import make_recipe, train_in
from sentence_transformers import SentenceTransformer
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from distill.errors import UserError
from distill.recipe import Train
from distill.train.loop.model_overrides import override_attention


def test_attention_kernel_does_not_change_the_student(tmp_path, encoder_folder):
    found = []
    for kernel in ("sdpa", "eager"):
        recipe = make_recipe(encoder_folder, train={"kernel": kernel, "dropout": 0.0})
        student = train_in(tmp_path / kernel, recipe).folder
        found.append(SentenceTransformer(str(student)).encode("tides follow the moon"))
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert (found[0] != found[1]).any(), "computed otherwise"


def test_kernel_is_one_for_a_while(encoder_folder):
    model = SentenceTransformer(str(encoder_folder))
    found = model[0].model.config._attn_implementation
    assert found == "sdpa"
    with override_attention(model, "eager"):
        assert model[0].model.config._attn_implementation == "eager"
    assert model[0].model.config._attn_implementation == found


@pytest.mark.bad_input("student", "a kernel of attention that sees other tokens", "refused")
def test_kernel_that_sees_other_tokens_is_refused(encoder_folder):
    def causal(module, query, key, value, attention_mask, **rest):
        rest["is_causal"] = True
        return sdpa_attention_forward(module, query, key, value, None, **rest)

    AttentionInterface.register("causal_by_mistake", causal)
    AttentionMaskInterface.register("causal_by_mistake", sdpa_mask)
    model = SentenceTransformer(str(encoder_folder))
    with (
        pytest.raises(UserError, match="computes causal attention where sdpa does not"),
        override_attention(model, "causal_by_mistake"),
    ):
        pytest.fail("entered")
    assert model[0].model.config._attn_implementation == "sdpa"


def test_end_of_sequence_of_a_saved_student_can_be_trained_again(tmp_path):
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    recipe = make_recipe(tmp_path / "decoder", student={"pooling": "last"})
    student = train_in(tmp_path / "run", recipe).folder
    base, trained = (
        SentenceTransformer(str(path))[0] for path in (student.with_name("base"), student)
    )
    assert trained.tokenizer.pad_token_id == trained.tokenizer.eos_token_id
    assert trained.model.config.pad_token_id == base.model.config.pad_token_id
    assert trained.model.get_input_embeddings().padding_idx is None


@pytest.mark.bad_input("installation", "flash attention where it is not", "refused")
def test_flash_attention_is_refused_where_it_is_not(tmp_path, encoder_folder):
    recipe = make_recipe(encoder_folder, train={"kernel": "flash_attention_2", "dtype": "bfloat16"})
    with pytest.raises(UserError, match="flash-attn"):
        train_in(tmp_path / "run", recipe)
    assert not (tmp_path / "run" / "student").exists()
    with pytest.raises(ValueError, match="half precision"):
        Train(kernel="flash_attention_2")
