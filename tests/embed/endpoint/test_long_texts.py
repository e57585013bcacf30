"""Texts that are longer than a server of embeddings takes."""

import numpy as np
import pytest
from helpers.endpoint_encoder import TEXTS, check_vectors, compute_vectors, open_served_encoder
from helpers.fake_server import reply_with_error

from distill.embed.endpoint import client
from distill.embed.endpoint.client import cut, estimate_fitting_share, find_named_limit
from distill.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.002)


def tokens(text: str) -> int:
    """As a multilingual tokenizer counts: a character of Chinese, four letters."""
    return sum(1 if ord(c) > 0x2E80 else 0.25 for c in text).__ceil__()


LONG = [
    "长的句子" * 400,
    "short",
    "a b c " * 50,
    "words and 汉字 " * 90,
    "短",
    "日本語" * 380,
    "ไทย" * 300,
]


@pytest.mark.parametrize(
    "message",
    [
        "`inputs` must have less than 512 tokens. Given: {n}",
        "This model's maximum context length is 512 tokens, however you requested {n} tokens",
        "Input is too long",
        "the request exceeds the maximum sequence length",
    ],
)
@pytest.mark.parametrize("code", [400, 413])
@pytest.mark.bad_input("server", "Chinese text beyond a server's 512 tokens", "cut, said once")
def test_text_that_is_too_long_is_cut_to_what_the_server_takes(server, caplog, message, code):
    def rule(body):
        n = max(map(tokens, body["input"]))
        return reply_with_error(code, message.format(n=n)) if n > 512 else None

    server.rule = rule
    encoder = open_served_encoder(server)
    together = encoder.encode(LONG, "document")
    assert caplog.text.count("refuses texts that are too long") == 1
    assert "retriever.max_tokens" in caplog.text
    kept = {text for seen in server.seen for text in seen.body["input"] if tokens(text) <= 512}
    for text, vector in zip(LONG, together, strict=True):
        sent = text[: 256 * 4]
        [fits] = [found for found in kept if np.allclose(compute_vectors([found])[0], vector)]
        assert sent.startswith(fits)
        assert tokens(fits) >= min(tokens(sent), 250)
    alone = open_served_encoder(server)
    for text, vector in zip(LONG, together, strict=True):
        np.testing.assert_array_equal(alone.encode([text], "document")[0], vector)


def test_text_that_is_too_long_costs_no_other_its_batch(server):
    def rule(body):
        n = max(map(tokens, body["input"]))
        return reply_with_error(400, f"{n} tokens, and at most 512 fit") if n > 512 else None

    server.rule = rule
    encoder = open_served_encoder(server, concurrency=1, max_tokens=2048)
    found = encoder.encode(["long " * 800, *TEXTS], "document")
    np.testing.assert_allclose(found[1:], compute_vectors(TEXTS), atol=1e-6)
    before = len(server.seen)
    assert before < 20
    check_vectors(encoder)
    assert len(server.seen) == before + 2  # batches of 32


@pytest.mark.bad_input("server", "a text that the server refuses at any length", "named")
def test_text_that_is_refused_for_another_reason_is_named(server):
    server.rule = lambda body: (
        reply_with_error(400, "contains what is not allowed")
        if any("bees" in t for t in body["input"])
        else None
    )
    encoder = open_served_encoder(server)
    with pytest.raises(UserError, match=r"not allowed\): 'about bees'"):
        encoder.encode([*TEXTS, "about bees"], "document")


def test_server_that_refuses_every_length_ends_the_job(server):
    encoder = open_served_encoder(server)
    server.rule = lambda body: reply_with_error(413, "too long")
    with pytest.raises(UserError, match="refuses a text"):
        encoder.encode(["a word " * 200], "document")
    assert len(server.seen) < 30


@pytest.mark.parametrize(
    ("reason", "sent", "most"),
    [
        ("400: batch size is invalid, it should not be larger than 10.", 32, 10),
        ("413: batch size 64 > maximum allowed batch size 32", 64, 32),
        ("400: at most 100 requests can be in one batch", 128, 100),
        ("400: Input 3 is too long: 513 tokens", 32, None),
        ("400: `inputs` must have less than 512 tokens. Given: 976", 32, None),
        ("400: batch size too large", 32, None),
        ("400: model-7 gives no", 32, None),
    ],
)
def test_most_texts_that_a_refusal_names(reason, sent, most):
    assert find_named_limit(reason, sent) == most


def test_length_of_text_that_fits_is_read_from_a_refusal():
    said = "413: `inputs` must have less than 512 tokens. Given: 976"
    assert estimate_fitting_share(said, 3_000) == pytest.approx(0.95 * 512 / 976)
    assert estimate_fitting_share("400: too long for text-embedding-004", 3_000) == 0.7
    assert estimate_fitting_share("400: at most 512 tokens", 3_000) == 0.7
    assert cut("汉字", 4) == "汉"
    assert cut("汉字", 1) == "汉"
