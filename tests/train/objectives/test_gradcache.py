"""Embedding a mini-batch at a time gives the gradients of embedding all at once, dropout and
precision included, and never holds more than one mini-batch."""

import weakref

import pytest
import torch
from helpers.reference_losses import draw_unit_vectors
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.train.objectives import gradcache

WORDS = " ".join(TEXTS).split()
RAGGED = [" ".join(WORDS[i : i + length]) for i, length in enumerate([3, 30, 1, 12, 7, 20, 2, 9])]


@pytest.fixture
def model(encoder_folder) -> SentenceTransformer:
    return SentenceTransformer(str(encoder_folder), device="cpu")


def gradients(model: SentenceTransformer, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss in which every text matters to every other."""
    model.zero_grad()
    (vectors @ draw_unit_vectors(vectors.shape[1], 5) @ draw_unit_vectors(5, 8)).softmax(
        0
    ).square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_close(ours, theirs, **how) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **how)


def embed_cached(model, features, tokens) -> torch.Tensor:
    (vectors,) = gradcache.embed_cached(model, [features], tokens)
    return vectors


def embed_at_once(model, features) -> torch.Tensor:
    return model(dict(features))["sentence_embedding"]


@pytest.mark.parametrize("tokens", [1, 40, 100, 10_000])
def test_cached_is_uncached(model, tokens):
    model.eval()
    features = model.preprocess(RAGGED)
    cached = embed_cached(model, features, tokens)
    at_once = embed_at_once(model, features)
    torch.testing.assert_close(cached, at_once, rtol=1e-4, atol=1e-5)
    assert_close(gradients(model, cached), gradients(model, at_once), rtol=1e-3, atol=1e-5)


def test_columns_share_their_mini_batches(model):
    model.eval()
    calls = []
    model.register_forward_pre_hook(lambda _, given: calls.append(len(given[0]["input_ids"])))
    columns = [model.preprocess(RAGGED[:3]), model.preprocess(RAGGED[3:])]
    cached = gradcache.embed_cached(model, columns, 10_000)
    assert calls == [len(RAGGED)]  # one, and its texts are embedded once
    ours = gradients(model, torch.cat(cached))
    assert calls == [len(RAGGED)]
    at_once = [embed_at_once(model, features) for features in columns]
    for column, whole in zip(cached, at_once, strict=True):
        torch.testing.assert_close(column, whole, rtol=1e-4, atol=1e-5)
    assert_close(ours, gradients(model, torch.cat(at_once)), rtol=1e-3, atol=1e-5)


def without_cache(model, features, tokens, monkeypatch) -> torch.Tensor:
    """The same mini-batches with all that they compute kept, so that dropout draws the same."""
    with monkeypatch.context() as patch:
        patch.setattr(gradcache, "checkpoint", lambda embed, *args, use_reentrant: embed(*args))
        return embed_cached(model, features, tokens)


@pytest.mark.parametrize("tokens", [40, 100])
def test_second_pass_replays_the_first_with_dropout(model, tokens, monkeypatch):
    model.train()
    features = model.preprocess(RAGGED)
    torch.manual_seed(1)
    cached = embed_cached(model, features, tokens)
    after = torch.get_rng_state()
    ours = gradients(model, cached)
    assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(1)
    kept = without_cache(model, features, tokens, monkeypatch)
    assert torch.equal(cached, kept)
    assert_close(ours, gradients(model, kept), rtol=0, atol=0)
    torch.manual_seed(2)
    assert not torch.equal(embed_cached(model, features, tokens), cached)


def test_second_pass_has_the_precision_of_the_first_in_bfloat16(model, monkeypatch):
    """The way back lies outside of the autocast, as in a trainer."""
    model.train()
    features = model.preprocess(RAGGED)

    def vectors(embed):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            return embed().float()

    ours = gradients(model, vectors(lambda: embed_cached(model, features, 40)))
    theirs = gradients(model, vectors(lambda: without_cache(model, features, 40, monkeypatch)))
    assert_close(ours, theirs, rtol=0.02, atol=1e-4)


def test_padding_on_the_left_is_cut_off_too(model):
    model.eval()
    seen = []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]["input_ids"]))
    features = model.preprocess(RAGGED)
    left = {name: features[name].flip(1) for name in ("input_ids", "attention_mask")}
    embed_cached(model, left, 1)
    assert [ids.shape for ids in seen] == [
        (1, length) for length in sorted(features["attention_mask"].sum(1).tolist())
    ]


def test_mini_batches_keep_to_their_tokens_padding_included(model):
    model.eval()
    sizes = []
    model.register_forward_pre_hook(lambda _, given: sizes.append(given[0]["input_ids"].numel()))
    features = model.preprocess(RAGGED)
    longest = int(features["attention_mask"].sum(1).max())
    with torch.no_grad():
        embed_cached(model, features, 60)
    assert max(sizes) <= max(60, longest)
    assert len(sizes) < len(RAGGED)


def test_mini_batches_are_in_memory_one_at_a_time(model):
    """The encoder's inner states: none is left of the mini-batches before, neither when the next
    is embedded nor when it is embedded again."""
    model.train()
    states, alive = [], []

    def watch(module, given, output):
        alive.append(sum(state() is not None for state in states))
        states.append(weakref.ref(output))

    def watched(layer):
        return layer.register_forward_hook(watch)

    watched(model[0].auto_model.encoder.layer[0].intermediate)
    features = model.preprocess(RAGGED)
    vectors = embed_cached(model, features, 40)
    forward = len(states)
    gradients(model, vectors)
    assert len(states) == 2 * forward - 1 > 6  # what the last one computed stays
    assert max(alive[1:]) <= 1


def test_cpu_computes_a_mini_batch_in_parts_and_keeps_all_of_the_last(model, monkeypatch):
    model.eval()
    features = model.preprocess(RAGGED)
    whole = embed_cached(model, features, 80)
    theirs = gradients(model, whole)
    monkeypatch.setattr(gradcache, "_CPU_TOKENS", 40)
    sizes = []
    model.register_forward_pre_hook(lambda _, given: sizes.append(given[0]["input_ids"].numel()))
    vectors = embed_cached(model, features, 80)
    first = list(sizes)
    ours = gradients(model, vectors)
    assert max(first) <= 40
    again = sizes[len(first) :]  # from the last to the first, without what was kept
    kept = first[len(again) :]
    assert len(kept) > 1
    assert again == first[: len(again)][::-1]
    assert 80 - first[len(again) - 1] < sum(kept) <= 80
    torch.testing.assert_close(vectors, whole, rtol=1e-4, atol=1e-5)
    assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_pooling_that_changes_the_mask_gets_its_own_copy(model):
    """`include_prompt=False` takes the instruction out of the attention mask in place."""
    model.eval()
    model[1].include_prompt = False
    features = model.preprocess(RAGGED) | {"prompt_length": 3}
    before = features["attention_mask"].clone()
    cached = embed_cached(model, features, 40)
    ours = gradients(model, cached)
    assert torch.equal(features["attention_mask"], before)
    copy = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in features.items()}
    at_once = embed_at_once(model, copy)
    torch.testing.assert_close(cached, at_once, rtol=1e-4, atol=1e-5)
    assert_close(ours, gradients(model, at_once), rtol=1e-3, atol=1e-5)


def test_encoders_own_checkpointing_may_be_on_as_well(model):
    model.train()
    features = model.preprocess(RAGGED)
    torch.manual_seed(1)
    ours = gradients(model, embed_cached(model, features, 40))
    model[0].auto_model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(1)
    assert_close(ours, gradients(model, embed_cached(model, features, 40)), rtol=1e-5, atol=1e-6)
