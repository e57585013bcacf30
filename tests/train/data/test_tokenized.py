"""Texts tokenised once give the model's own features, padded to a batch's longest."""

import pytest
import torch
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.text.format import PromptedText
from distill.train.data.tokenized import TokenizedTexts

WRITTEN = [
    PromptedText("task: " if n % 2 else "", text * (1 + n % 3)) for n, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def model(encoder_folder) -> SentenceTransformer:
    model = SentenceTransformer(str(encoder_folder), device="cpu")
    model.max_seq_length = 24
    return model


@pytest.mark.parametrize("side", ["right", "left"])
def test_features_are_what_the_model_makes_of_the_texts(tmp_path, model, side, monkeypatch):
    monkeypatch.setattr(model.tokenizer, "padding_side", side)
    tokens = TokenizedTexts(tmp_path / "tokens", model, WRITTEN)
    chosen = [7, 0, 3, 3]
    expected = model.preprocess(["".join(WRITTEN[n]) for n in chosen])
    found = tokens.collate(chosen)
    assert torch.equal(found["input_ids"], expected["input_ids"])
    assert torch.equal(found["attention_mask"], expected["attention_mask"])
    assert max(tokens.lengths) == 24
    vectors = model(found)["sentence_embedding"], model(expected)["sentence_embedding"]
    assert torch.equal(*vectors)


def test_prompts_are_counted_with_the_token_that_begins_a_text(tmp_path, model):
    lengths = TokenizedTexts(tmp_path / "tokens", model, WRITTEN).collate([0, 1])["prompt_length"]
    begin = len(model.tokenizer("task: ")["input_ids"]) - 1
    assert lengths.tolist() == [0, begin]


def test_texts_are_tokenised_once(tmp_path, model, monkeypatch):
    first = TokenizedTexts(tmp_path / "tokens", model, WRITTEN).collate([1, 2])
    monkeypatch.setattr("distill.train.data.tokenized._write", None)
    assert torch.equal(
        first["input_ids"],
        TokenizedTexts(tmp_path / "tokens", model, WRITTEN).collate([1, 2])["input_ids"],
    )


@pytest.mark.parametrize(
    "others",
    [
        WRITTEN[::-1],
        WRITTEN[:-1],
        [PromptedText("query: " if text.prompt else "", text.text) for text in WRITTEN],
    ],
    ids=["other order", "fewer", "other prompt"],
)
def test_tokens_of_other_texts_are_made_again(tmp_path, model, others):
    TokenizedTexts(tmp_path / "tokens", model, WRITTEN)
    found = TokenizedTexts(tmp_path / "tokens", model, others)
    expected = TokenizedTexts(tmp_path / "new", model, others)
    assert found.flat.tolist() == expected.flat.tolist()
    assert found.prompts.tolist() == expected.prompts.tolist()
