"""Token vectors with learned weights, and the plain ones that they become."""

import pytest
import torch
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer
from torch.nn.functional import cosine_similarity

from distill.recipe import Student
from distill.student.static.gate import GatedStaticEmbedding, add_gate, fold_gate, get_first_static
from distill.student.static.tokens import count_vectors, make_tokenizer


@pytest.fixture
def tokenizer(encoder_folder) -> Tokenizer:
    return make_tokenizer(Student(encoder=str(encoder_folder)), None)


@pytest.fixture
def model(tokenizer) -> SentenceTransformer:
    torch.manual_seed(0)
    vectors = torch.randn(count_vectors(tokenizer), 12)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, vectors), Normalize()])


def train_a_little(model: SentenceTransformer) -> None:
    """Away from weights that are all alike."""
    gated = get_first_static(model)
    torch.manual_seed(1)
    gated.log_gate.data = torch.randn(len(gated.log_gate)) / 5


def test_untrained_gate_leaves_every_vector_as_it_was(model):
    before = model.encode(TEXTS, convert_to_tensor=True)
    add_gate(model, 5.0)
    torch.testing.assert_close(model.encode(TEXTS, convert_to_tensor=True), before)


def test_folded_token_vectors_give_the_same_texts_the_same_vectors(model):
    add_gate(model, 5.0)
    train_a_little(model)
    before = model.encode(TEXTS, convert_to_tensor=True)
    fold_gate(model)
    assert type(model[0]) is StaticEmbedding
    after = model.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_padded_batch_has_the_vectors_of_texts_in_a_row(model, tokenizer):
    add_gate(model, 5.0)
    train_a_little(model)
    gated = model[0]
    rows = [row.ids for row in tokenizer.encode_batch(TEXTS, add_special_tokens=False)]
    longest = max(map(len, rows))
    padded = {
        "input_ids": torch.tensor([row + [3] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        ),
    }
    in_a_row = gated.forward(gated.preprocess(TEXTS))["sentence_embedding"]
    torch.testing.assert_close(gated.forward(padded)["sentence_embedding"], in_a_row)


def test_token_learns_its_weight_faster_than_its_vector(model):
    add_gate(model, 5.0)
    gated = model[0]
    assert isinstance(gated, GatedStaticEmbedding)
    target = torch.randn(len(TEXTS), 12)
    optimizer = torch.optim.AdamW(gated.parameters(), lr=1e-3, weight_decay=0)
    before = gated.embedding.weight.detach().clone()
    vectors = gated.forward(gated.preprocess(TEXTS))["sentence_embedding"]
    (-cosine_similarity(vectors, target).mean()).backward()
    optimizer.step()
    seen = gated.log_gate.grad != 0
    assert seen.any()
    moved = gated.weigh_tokens()[seen].log().abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 5e-3), rtol=0.05, atol=0)
    assert (gated.embedding.weight - before).abs().max() < 1.1e-3


def test_checkpoint_holds_the_weights_of_tokens(model, tmp_path):
    add_gate(model, 3.0)
    train_a_little(model)
    model[0].save(str(tmp_path))
    loaded = GatedStaticEmbedding.load(str(tmp_path))
    for name, weight in model[0].state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight)


def test_transformer_has_no_token_vectors_to_weigh(encoder_folder):
    with pytest.raises(TypeError, match="Transformer has no token vectors"):
        add_gate(SentenceTransformer(str(encoder_folder)), 5.0)
