"""Structured output of servers that support it, ignore it or refuse it."""

import json

import pytest
from helpers.fake_server import (
    answer_always,
    make_completion,
    reply_with_error,
    serve,
)
from helpers.http_engine import PROMPTS, SEEDS

from distill.generate.passages.method import open_method
from distill.generate.settings import WritingSettings
from distill.llm import Sampling
from distill.recipe import load_recipe

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
        "additionalProperties": False,
    }
)


def test_structured_output_schema_is_sent_and_its_violations_are_counted(make, server):
    engine = make(server.url)
    engine.generate(PROMPTS, SEEDS, Sampling(20, 0.7, chat=True, json_schema=SCHEMA))
    sent = server.seen[0].body["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"] == json.loads(SCHEMA)
    assert sent["json_schema"]["strict"]
    assert engine.tokens["malformed"] == len(PROMPTS)


def test_structured_output_is_not_supported_by_a_server_that_ignores_it(make, server, caplog):
    caplog.set_level("INFO")
    engine = make(server.url)
    assert not engine.supports_regex
    assert "enforces no regular expressions; replies are parsed as they come" in caplog.text
    assert not engine.supports_schema
    server.seen.clear()
    engine.generate(["a"], [1], Sampling(20, regex="[a-z]+"))
    assert server.seen[0].body.keys() == {"model", "prompt", "max_tokens", "temperature"}


def test_structured_output_is_not_supported_by_a_server_that_refuses_it(make, server):
    server.rule = lambda body: (
        None
        if body.keys() <= {"model", "messages", "max_tokens", "temperature"}
        else reply_with_error(400)
    )
    engine = make(server.url)
    assert not engine.supports_regex
    assert not engine.supports_schema


@pytest.mark.parametrize("way", ["structured_outputs", "guided_regex", "regex"])
def test_structured_output_regex_goes_by_the_field_that_works(make, way):
    def answer(path, body):
        return answer_always("123-456" if way in body else "yes")(path, body)

    with serve(answer) as server:
        engine = make(server.url)
        assert engine.supports_regex
        server.seen.clear()
        engine.generate(["a"], [1], Sampling(20, regex="[a-z]+"))
        field = {"regex": "[a-z]+"} if way == "structured_outputs" else "[a-z]+"
        assert server.seen[0].body[way] == field
        server.seen.clear()
        assert make(server.url).supports_regex
        assert server.seen == []


def test_structured_output_that_a_server_does_not_support_leaves_its_stop_strings(make):
    """Fret's form is a regular expression: unforced, nothing else would end a continued text."""
    text = {True: '{"number": 4}', False: "yes"}
    method = open_method(WritingSettings.select(load_recipe(None, ["name=r"])))
    with serve(
        lambda path, body: answer_always(text["response_format" in body])(path, body)
    ) as server:
        engine = make(server.url)
        assert engine.supports_schema
        server.seen.clear()
        engine.generate(["a"], [1], method.make_sampling(False, method.can_be_constrained(engine)))
        assert "\n\n" in server.seen[-1].body["stop"]


@pytest.mark.parametrize("end", ["error", "stop"])
def test_structured_output_is_not_supported_by_a_server_that_gives_no_text(make, end):
    def answer(path, body):
        return make_completion(path, [None], end=end)

    with serve(answer) as server:
        assert not make(server.url).supports_regex
        assert not make(server.url).supports_schema
