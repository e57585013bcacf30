"""A server that embeds and has a bad day: what passes is outlasted, and the rest told as it is."""

import asyncio
import gzip
import random
import socket
import threading
import time
from email.utils import formatdate

import numpy as np
import pytest
from helpers import fake_server
from helpers.fake_server import (
    MODEL,
    drop_connection,
    fail_at_random,
    reply_with,
    reply_with_error,
    serve,
    truncate_body,
)

from distill.embed.endpoint import client, embedder
from distill.errors import UserError
from distill.recipe import Retriever
from distill.retrieve.corpus_index import open_encoder

SECRET = "sk-not/for+anyone="
TEXTS = [f"text number {n} " + "word " * (n % 7) for n in range(120)]


def vector_of(text: str) -> list[float]:
    draw = random.Random(text)
    return [draw.gauss(0, 3) for _ in range(5)]


def embeds(path, body):
    data = [{"index": i, "embedding": vector_of(text)} for i, text in enumerate(body["input"])]
    return {"object": "list", "model": MODEL, "data": data}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.002)
    monkeypatch.setattr(embedder, "_MOST_TEXTS", 4)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


@pytest.fixture
def server():
    with serve(embeds) as server:
        yield server


def opened(server, **settings):
    return open_encoder(Retriever(model=MODEL, base_url=server.url, **settings))


def check(encoder, texts=TEXTS):
    vectors = np.array([vector_of(text) for text in texts])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(texts, "document"), vectors, atol=1e-6)


GARBAGE = [
    reply_with(b"<html>Bad gateway</html>"),
    reply_with(b'{"data": [{"embed'),
    reply_with({"data": []}),
    reply_with({"error": {"message": "upstream", "code": 502}}),
    reply_with([]),
    fake_server.reply_nested(100_000),
    fake_server.reply_packed(b"no gzip"),
    truncate_body,
    drop_connection,
]


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_garbage_now_and_then_leaves_no_trace(server, share):
    encoder = opened(server, retries=12)
    server.rule = fail_at_random(*GARBAGE, share=share)
    check(encoder)


@pytest.mark.parametrize("wait", [None, "0", "0.02", "-5", formatdate(0, usegmt=True), "soon"])
def test_storm_of_429_is_outlasted(server, wait):
    refuses = reply_with_error(429, retry_after=wait) if wait else reply_with_error(429)
    encoder = opened(server, retries=4)
    server.rule = fail_at_random(refuses, share=0.6)
    check(encoder)


@pytest.mark.parametrize("wait", ["3600", "1e999", "a date"])
def test_server_that_asks_for_an_hour_ends_the_job(server, wait):
    if wait == "a date":
        wait = formatdate(time.time() + 7200, usegmt=True)
    encoder = opened(server)
    server.rule = lambda body: reply_with_error(429, "daily limit", retry_after=wait)
    with pytest.raises(UserError, match=r"asks for a pause of \d+ minutes .*daily limit"):
        encoder.encode(TEXTS, "document")


def test_server_that_dies_and_comes_back(server, monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.1)
    encoder = opened(server)
    port = server.server_address[1]
    server.shutdown()
    server.server_close()
    again: list = []

    def come_back():
        time.sleep(1.5)
        other = fake_server.Server(embeds, port)
        again.append(other)
        other.serve_forever(0.01)

    with socket.socket() as place:  # so that nobody else is given the port meanwhile
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", port))
        threading.Thread(target=come_back, daemon=True).start()
        check(encoder)
    again[0].shutdown()
    again[0].server_close()


@pytest.mark.parametrize("fault", [fake_server.trickle_without_end, fake_server.give_no_reply])
@pytest.mark.bad_input("server", "embeddings that come a byte a second", "given up, asked again")
def test_slow_reply_is_given_up_and_asked_again(server, fault):
    encoder = opened(server, timeout=0.5)
    server.faults.append(fault)
    check(encoder, TEXTS[:2])


def slow_head(handler, body):
    """Headers a byte at a time."""
    handler.close_connection = True
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" * 100:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)


def test_headers_that_never_end_are_given_up(server):
    server.rule = lambda body: slow_head
    with pytest.raises(UserError, match=r"did not answer .*no answer within 0\.3 s"):
        opened(server, timeout=0.3, retries=0)


@pytest.mark.parametrize(
    "fault",
    [fake_server.reply_without_end, fake_server.reply_packed(gzip.compress(b" " * (1 << 25)))],
)
@pytest.mark.bad_input("server", "embeddings without end, or a bomb of gzip", "refused, unread")
def test_reply_beyond_its_limits_is_not_read(server, fault):
    encoder = opened(server, retries=0)
    server.faults.append(fault)
    with pytest.raises(UserError, match=r"more than \d+ MiB|100 times its length"):
        encoder.encode(["a"], "query")


def test_lasting_fault_is_reported_by_its_kind(server):
    cases = [
        (
            reply_with_error(500, "out of memory"),
            r"failed for model .* in 3 tries \(500: out of memory\)",
        ),
        (drop_connection, r"did not answer for model .* in 3 tries \(.*Error"),
        (
            reply_with(b"<html>Hello</html>"),
            r"gave no usable reply .*no JSON: '<html>Hello</html>'",
        ),
    ]
    for fault, said in cases:
        encoder = opened(server, retries=2)
        server.rule = lambda body, fault=fault: fault
        with pytest.raises(UserError, match=said):
            encoder.encode(["a"], "query")
        server.rule = lambda body: None


@pytest.mark.parametrize("code", [500, 503])
def test_outage_is_no_texts_fault_though_others_were_embedded_meanwhile(server, code):
    encoder = opened(server, retries=2, batch_texts=1)
    first, down, embedded = max(TEXTS, key=len), threading.Event(), []

    def fail(handler, body):
        down.wait()
        reply_with_error(code, "out of order")(handler, body)

    def answer(path, body):
        embedded.extend(body["input"])
        if len(embedded) == len(TEXTS) - 1:  # all but the text in flight
            down.set()
        return embeds(path, body)

    server.answer = answer
    server.rule = lambda body: fail if down.is_set() or first in body["input"] else None
    with pytest.raises(UserError, match=rf"failed for model .* in 3 tries \({code}: out of order"):
        encoder.encode(TEXTS, "document")


@pytest.mark.bad_input("server", "one text is an error 500 each time", "refused by name")
def test_text_that_fails_while_another_is_embedded_is_refused_by_name(server):
    encoder = opened(server, retries=1)
    server.rule = lambda body: reply_with_error(500) if TEXTS[7] in body["input"] else None
    with pytest.raises(UserError, match=r"refuses a text .*text number 7 [\s\S]*take the text out"):
        encoder.encode(TEXTS, "document")


def test_server_that_is_not_there_did_not_answer():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"did not answer .*Connect"):
            open_encoder(Retriever(model=MODEL, base_url=url, retries=1))


@pytest.mark.bad_input("server", "a redirect to another server", "not followed with the key")
def test_redirects_are_not_followed(server):
    with serve(embeds) as other:
        server.rule = lambda body: reply_with_error(
            307, location=f"{other.url}/embeddings?key={SECRET}"
        )
        with pytest.raises(UserError, match="redirects") as caught:
            opened(server)
        assert other.seen == []
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("spelt", [SECRET, SECRET.replace("/", "\\/"), "sk-not%2Ffor%2Banyone%3D"])
@pytest.mark.parametrize("code", [400, 401, 500])
def test_key_is_in_no_error_and_no_log(server, caplog, spelt, code):
    reply = f'{{"error": {{"message": "\x1b[31mnot {spelt}"}}}}'.encode()
    server.rule = lambda body: lambda handler, _: handler.reply(code, reply)
    with pytest.raises(UserError) as caught:
        opened(server, retries=1)
    said = str(caught.value) + caplog.text
    assert spelt not in said
    assert "anyone" not in said
    assert "[key]" in said
    assert "\x1b" not in said


def test_waiting_requests_are_not_sent_once_the_job_has_failed(server):
    encoder = opened(server, concurrency=2)
    server.rule = lambda body: reply_with_error(401)
    with pytest.raises(UserError, match="refuses the key"):
        encoder.encode(TEXTS, "document")
    assert len(server.seen) <= 4


def test_endpoint_embeds_inside_an_event_loop(server):
    """As in a notebook."""
    encoder = opened(server)

    async def cell():
        check(encoder, TEXTS[:9])

    asyncio.run(cell())


def test_several_threads_share_an_encoder(server):
    encoder = opened(server)
    failed: list = []

    def ask(start):
        try:
            check(encoder, TEXTS[start : start + 30])
        except (AssertionError, UserError) as fault:
            failed.append(fault)

    threads = [threading.Thread(target=ask, args=(n * 30,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
