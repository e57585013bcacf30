"""A server that embeds: every text gets its own vector, whatever the server does on the way, and no
error holds the key."""

import math
import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from helpers.fake_server import (
    MODEL,
    drop_connection,
    fail_at_random,
    reply_with,
    reply_with_error,
    serve,
    truncate_body,
)
from helpers.ray_work import wait_until

from distill.embed.endpoint import client, embedder
from distill.embed.vectors.vector_store import embed
from distill.errors import UserError
from distill.recipe import Retriever
from distill.retrieve.corpus_index import identify_retriever, open_encoder

SECRET = "sk-not-for-anyone"
TEXTS = [f"text number {n} " + "word " * (n % 7) for n in range(60)]


def vector_of(text: str) -> list[float]:
    draw = random.Random(text)
    return [draw.gauss(0, 3) for _ in range(5)]


def embeds(path, body):
    """As OpenAI's endpoint does, but in any order."""
    assert path == "/v1/embeddings"
    assert body["encoding_format"] == "float"
    data = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(body["input"])]
    random.Random(len(data)).shuffle(data)
    return {"object": "list", "model": MODEL, "data": data}


def expected(texts: list[str]) -> np.ndarray:
    vectors = np.array([vector_of(text) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.002)
    monkeypatch.setattr(embedder, "_MOST_TEXTS", 4)
    monkeypatch.setenv("SOME_KEY", SECRET)


@pytest.fixture
def server():
    with serve(embeds) as server:
        yield server


def retriever(server, **settings):
    given = {"model": MODEL, "base_url": server.url, "api_key_variable": "SOME_KEY"}
    return Retriever(**(given | settings))


def test_vectors_are_the_texts_own_normalised_and_in_order(server):
    encoder = open_encoder(retriever(server, query_prompt="ask: ", document_prompt="say: "))
    assert encoder.dimensions == 5
    for side, prompt in (("query", "ask: "), ("document", "say: ")):
        found = encoder.encode(TEXTS, side)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected([prompt + t for t in TEXTS]), atol=1e-6)
    assert encoder.encode([], "query").shape == (0, 5)
    assert all(seen.headers["Authorization"] == f"Bearer {SECRET}" for seen in server.seen)


def test_batches_keep_to_their_tokens_and_requests_to_their_number(server):
    encoder = open_encoder(retriever(server, batch_tokens=20, max_tokens=10, concurrency=3))

    def embed_together(path, body):
        wait_until(lambda: server.most_at_once > 1)
        return embeds(path, body)

    server.answer = embed_together
    encoder.encode([*TEXTS, "long " * 50], "query")
    sent = [seen.body["input"] for seen in server.seen[1:]]
    assert all(len(batch) == 1 or sum(map(len, batch)) <= 80 for batch in sent)
    assert max(len(text) for batch in sent for text in batch) == 40
    assert 1 < server.most_at_once <= 3


def test_misbehaviour_that_passes_leaves_no_trace(server):
    encoder = open_encoder(retriever(server, retries=12))
    wrong_count = reply_with({"data": [{"index": 0, "embedding": [1.0] * 5}] * 7})
    twice_the_same = reply_with({"data": [{"index": 0, "embedding": [1.0] * 5}] * 4})
    odd = [reply_with(b"no JSON"), reply_with({"data": [{"index": 0}]}), reply_with([1])]
    words = reply_with({"data": [{"index": i, "embedding": ["a"]} for i in range(4)]})
    faults = [
        reply_with_error(429),
        reply_with_error(429, retry_after="0"),
        reply_with_error(500),
        reply_with_error(503),
        drop_connection,
        truncate_body,
    ]
    rule = fail_at_random(*faults, wrong_count, twice_the_same, words, *odd, share=0.4)
    server.rule = rule
    np.testing.assert_allclose(encoder.encode(TEXTS, "query"), expected(TEXTS), atol=1e-6)
    assert len(server.seen) > 20


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(server, as_date):
    encoder = open_encoder(retriever(server))
    until = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    named = format_datetime(until, usegmt=True) if as_date else "0.6"
    server.faults.append(reply_with_error(429, retry_after=named))
    begun = time.monotonic()
    encoder.encode(["one"], "query")
    if as_date:
        assert datetime.now(UTC) >= until
    else:
        assert time.monotonic() - begun >= 0.6


@pytest.mark.bad_input("server", "an embeddings server that asks for an hour", "the job ends")
def test_server_that_asks_for_too_much_patience_ends_the_job(server):
    encoder = open_encoder(retriever(server))
    server.faults.append(reply_with_error(429, retry_after="86400"))
    with pytest.raises(UserError, match="pause of 1440 minutes"):
        encoder.encode(["one"], "query")


@pytest.mark.bad_input("server", "an embeddings server that fails for ever", "the job ends")
def test_retries_end(server):
    encoder = open_encoder(retriever(server, retries=2))
    server.rule = lambda body: reply_with_error(500, "out of order")
    with pytest.raises(UserError, match=r"in 3 tries \(500: .*out of order"):
        encoder.encode(["one"], "query")
    assert len(server.seen) == 1 + 3 + 2  # these with another text


def echoes(code: int):
    def fault(handler, body):
        reply_with_error(code, f"not with {handler.headers['Authorization']}")(handler, body)

    return fault


@pytest.mark.bad_input("secrets", "an embeddings server that refuses", "refused, the key not shown")
@pytest.mark.parametrize(
    ("code", "remedy"),
    [(401, "SOME_KEY"), (403, "SOME_KEY"), (404, "retriever.model"), (400, "extra_body")],
)
@pytest.mark.parametrize("when", ["at once", "later"])
def test_refusals_name_url_model_and_remedy_but_never_the_key(server, code, remedy, when):
    encoder = open_encoder(retriever(server)) if when == "later" else None
    server.rule = lambda body: echoes(code)
    with pytest.raises(UserError) as caught:
        (encoder or open_encoder(retriever(server))).encode(TEXTS, "query")
    said = str(caught.value)
    assert server.url in said
    assert MODEL in said
    assert remedy in caught.value.remedy
    assert SECRET not in said
    assert "[key]" in said


@pytest.mark.parametrize("fault", [echoes(500), reply_with(f"<{SECRET}>".encode())])
def test_key_is_not_in_what_passes_either(server, fault):
    server.rule = lambda body: fault
    with pytest.raises(UserError) as caught:
        open_encoder(retriever(server, retries=0))
    assert SECRET not in str(caught.value)


@pytest.mark.bad_input("server", "vectors of zeros or NaN", "refused")
@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e300])
def test_vectors_of_zeros_or_nan_are_refused(server, value):
    encoder = open_encoder(retriever(server))
    server.faults.append(reply_with({"data": [{"index": 0, "embedding": [value] * 5}]}))
    with pytest.raises(UserError, match="zeros, or one that holds NaN"):
        encoder.encode(["one"], "query")


@pytest.mark.bad_input("server", "vectors of another width", "refused")
def test_another_width_is_refused(server):
    encoder = open_encoder(retriever(server))
    server.faults.append(reply_with({"data": [{"index": 0, "embedding": [1.0] * 6}]}))
    with pytest.raises(UserError, match=r"gave 6 dimensions .* and 5 at first"):
        encoder.encode(["one"], "query")


def test_endpoint_address_and_batching_are_no_part_of_identity(server, tmp_path):
    plain = retriever(server)
    with serve(embeds) as other:
        moved = retriever(other, concurrency=1, timeout=9, retries=1, batch_tokens=99)
        assert identify_retriever(plain) == identify_retriever(moved)
        assert open_encoder(plain).identity == open_encoder(moved).identity
        embed(tmp_path, open_encoder(plain), "query", ["a"], ["one"], "embed")
        before = len(other.seen)
        embed(tmp_path, open_encoder(moved), "query", ["a"], ["one"], "embed")
        assert len(other.seen) == before + 1  # the probe
    prompted = retriever(server, query_prompt="ask: ")
    assert identify_retriever(plain) != identify_retriever(prompted)
    assert open_encoder(plain).identity != open_encoder(prompted).identity


@pytest.mark.bad_input("address", "settings of a server that cannot be", "refused, the key named")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_url": "localhost:8000"}, "no address of a server"),
        ({"base_url": "http://me:word@localhost/v1"}, "holds a user or password"),
        ({"bidirectional": True}, "cannot be checked"),
    ],
)
def test_bad_settings_are_refused(server, settings, said):
    with pytest.raises(UserError, match=said) as caught:
        open_encoder(retriever(server, **settings))
    assert "word@" not in str(caught.value)
