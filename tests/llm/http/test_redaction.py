"""The key of a server and the secrets in its address are nowhere to be read."""

import logging

import pytest
from helpers.fake_server import (
    answer_always,
    reply_with,
    reply_with_error,
    serve,
)
from helpers.http_engine import KEY, PROMPTS, SAMPLED, SEEDS, TEXTS

from distill.errors import UserError


@pytest.mark.bad_input("secrets", "a key in use", "is nowhere on disk or in the log")
def test_redaction_the_key_is_nowhere_on_disk_or_in_the_log(make, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with serve(answer_always(f"the key is {KEY}, I was told")) as server:
        server.faults.extend(
            [reply_with_error(500, f"token {KEY}"), reply_with(f"<{KEY}>".encode())]
        )
        engine = make(server.url)
        [written] = engine.generate(["a"], [1], SAMPLED)
        assert written.text == "the key is [key], I was told"
        server.rule = lambda body: reply_with_error(418, KEY)
        with pytest.raises(UserError) as caught:
            engine.generate(["b"], [1], SAMPLED)
    assert KEY not in str(caught.value)
    assert KEY not in caplog.text
    assert KEY not in repr(vars(engine.client.server))
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes()


def test_redaction_of_a_word_as_key_does_not_spoil_texts(make, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "about")
    [written] = make(server.url).generate(PROMPTS[:1], SEEDS[:1], SAMPLED)
    assert written == TEXTS[0]


@pytest.mark.bad_input("secrets", "a key that cannot be a header", "refused, not shown")
def test_redaction_a_key_that_cannot_be_a_header_is_refused_unseen(make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one\nsk-two")
    with pytest.raises(UserError) as caught:
        make("http://127.0.0.1:9/v1")
    assert "sk-" not in str(caught.value)


@pytest.mark.bad_input(
    "address", "an address that is none, or with a password", "refused, no secret shown"
)
@pytest.mark.parametrize(
    "url",
    ["http://me:hush@host/v1", "host:8000/v1", "ftp://host", "http://", "http://h/v1?key=hush"],
)
def test_redaction_an_address_that_is_none_is_refused_without_its_secrets(make, url):
    with pytest.raises(UserError, match=r"llm\.base_url") as caught:
        make(url)
    assert "hush" not in str(caught.value)
