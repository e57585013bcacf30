"""A reply's content in every form that servers give: read, or a fault of its row in words, and kept
as it came."""

import gzip
import json
import math
import sqlite3

import pytest
from helpers import fake_server
from helpers.fake_server import MODEL, make_completion, reply_with, reply_with_error, serve

from distill.errors import UserError
from distill.llm import Completion, Sampling
from distill.llm.http.engine import HTTPEngine
from distill.llm.http.logprobs import read_score, read_top_tokens
from distill.recipe import LanguageModel

CHAT = Sampling(20, 0.7, chat=True)
PLAIN = Sampling(20, 0.7)


@pytest.fixture
def make(tmp_path):
    def engine(url: str, **settings) -> HTTPEngine:
        wanted = {"engine": "http", "model": MODEL, "base_url": url, "concurrency": 4, **settings}
        return HTTPEngine(LanguageModel(**wanted), tmp_path / "requests.sqlite", first_wait=0.002)

    return engine


def chat(content, end="stop", **more):
    return {
        "choices": [{"index": 0, "message": {"content": content, **more}, "finish_reason": end}]
    }


def gives(reply):
    return serve(lambda path, body: reply)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a bee", "a bee"),
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "bee"}], "a bee"),
        ([{"type": "output_text", "text": "a bee"}], "a bee"),
        ([{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "b"}], "b"),
        (["a ", "bee"], "a bee"),
        ({"type": "text", "text": "a bee"}, "a bee"),
        ("", ""),
        ([], ""),
    ],
)
def test_content_in_chunks_is_joined(make, content, text):
    with gives(chat(content)) as server:
        assert make(server.url).generate(["q"], [1], CHAT) == [Completion(text, True)]
        assert make(server.url).generate(["q"], [1], CHAT) == [Completion(text, True)]
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"type": "image_url", "image_url": "x"}], "type 'image_url'"),
        ([{"type": "text", "text": None}], "type 'text'"),
        ([{"text": "x"}], "without a type"),
        ([None], "without a type"),
        (7, "without a type"),
    ],
)
@pytest.mark.bad_input("server", "a reply whose content is no text", "a fault of its row; kept")
def test_content_that_is_no_text_is_a_fault_of_its_row_and_kept(make, tmp_path, content, said):
    with gives(chat(content)) as server:
        [written] = make(server.url).generate(["q"], [1], CHAT)
        assert (written.text, written.finished) == ("", False)
        assert said in written.fault
        assert make(server.url).generate(["q"], [1], CHAT) == [written]
        assert len(server.seen) == 1
    [kept] = sqlite3.connect(tmp_path / "requests.sqlite").execute("SELECT reply FROM replies")
    assert json.loads(kept[0])["raw"]["message"]["content"] == content


@pytest.mark.parametrize(
    ("passing", "said"),
    [
        (chat(None), "null instead of a text"),
        (chat(None, "error"), "ended the reply by 'error'"),
        (chat("a b", "abort"), "ended the reply by 'abort'"),
        ({"choices": [{"text": None, "finish_reason": "stop"}]}, "null instead of a text"),
    ],
)
@pytest.mark.bad_input("server", "a reply that is null, or ended by an error", "asked again later")
def test_reply_that_the_server_did_not_finish_is_asked_for_again_in_a_later_run(
    make, tmp_path, passing, said
):
    with serve(lambda path, body: passing) as server:
        [written] = make(server.url).generate(["q"], [1], CHAT)
        assert (written.text, written.finished) == ("", False)
        assert said in written.fault
        server.answer = lambda path, body: chat("a bee")
        assert make(server.url).generate(["q"], [1], CHAT) == [Completion("a bee", True)]
        assert make(server.url).generate(["q"], [1], CHAT) == [Completion("a bee", True)]
        assert len(server.seen) == 2
    rows = sqlite3.connect(tmp_path / "requests.sqlite").execute("SELECT reply FROM replies")
    assert len([*rows]) == 2  # what came first is kept too


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", [None, ""])
@pytest.mark.bad_input("server", "thoughts and no answer", "a fault of its row, with the remedy")
def test_thoughts_without_an_answer_say_what_helps(make, content, field):
    with gives(chat(content, "length", **{field: "Let me think about it"})) as server:
        [written] = make(server.url).generate(["q"], [1], CHAT)
    assert "used up its tokens on thoughts" in written.fault
    assert "generate.max_new_tokens" in written.fault
    assert "llm.extra_body" in written.fault


def test_thoughts_beside_an_answer_are_passed_over(make):
    with gives(chat("a bee", reasoning_content="hm")) as server:
        assert make(server.url).generate(["q"], [1], CHAT) == [Completion("a bee", True)]


def test_call_of_a_tool_is_no_answer(make):
    with gives(chat(None, "tool_calls", tool_calls=[{"id": "x"}])) as server:
        [written] = make(server.url).generate(["q"], [1], CHAT)
    assert "called a tool" in written.fault


@pytest.mark.parametrize("end", [None, 7, ["stop"], {"why": "stop"}, "eos", ""])
def test_odd_reason_to_end_is_an_end(make, end):
    with gives(chat("a bee", end)) as server:
        assert make(server.url).generate(["q"], [1], CHAT) == [Completion("a bee", True)]


@pytest.mark.parametrize(
    "usage",
    [
        "many",
        [1, 2],
        7,
        None,
        {},
        {"prompt_tokens": "12", "completion_tokens": None},
        {"prompt_tokens": math.inf, "completion_tokens": math.nan},
        {"prompt_tokens": -5, "completion_tokens": 1e300},
        {"prompt_tokens": True, "completion_tokens": [3]},
        {"prompt_tokens": 10**400, "prompt_tokens_details": "none"},
        {"prompt_tokens_details": {"cached_tokens": "4"}},
    ],
)
@pytest.mark.bad_input("server", "usage as text, list, infinity, ...", "counted as nothing")
def test_usage_that_counts_nothing_costs_no_reply(make, usage):
    with gives({**make_completion("", ["a bee"]), "usage": usage}) as server:
        engine = make(server.url)
        assert engine.generate(["q"], [1], PLAIN) == [Completion("a bee", True)]
    assert engine.tokens["prompt"] == engine.tokens["new"] == engine.tokens["shared"] == 0


def test_fractions_of_tokens_are_counted_whole(make):
    with gives({**make_completion("", ["x"]), "usage": {"prompt_tokens": 7.9}}) as server:
        engine = make(server.url)
        engine.generate(["q"], [1], PLAIN)
    assert engine.tokens["prompt"] == 7


# --- replies that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        reply_with(b"<html><title>Chat</title></html>"),
        reply_with({"choices": []}),
        reply_with({"choices": None}),
        reply_with({"choices": ["text"]}),
        reply_with({"choices": [{"index": 0}]}),
        reply_with({"object": "list"}),
        reply_with("text"),
        reply_with(None),
        fake_server.reply_nested(100_000),
        fake_server.reply_packed(b"\x0b\x02", "br"),
        reply_with(b'{"n": ' + b"1" * 5_000 + b"}"),
    ],
)
@pytest.mark.bad_input("server", "replies that are none, status 200", "named after a few tries")
def test_server_that_gives_no_replies_is_reported_after_a_few_tries(make, server_of, fault):
    server = server_of(fault)
    with pytest.raises(UserError, match=r"gave no usable reply .* in 4 tries") as caught:
        make(server.url, concurrency=1, retries=9).generate(["q"], [1], PLAIN)
    assert "did not answer" not in str(caught.value)
    assert "llm.base_url" in caught.value.remedy
    assert len(server.seen) == 4


def test_reply_in_no_known_form_is_kept_as_it_came(make, tmp_path, server_of):
    server = server_of(reply_with({"output": [{"text": "paid for"}]}))
    with pytest.raises(UserError, match="no usable reply"):
        make(server.url).generate(["q"], [1], PLAIN)
    [kept] = sqlite3.connect(tmp_path / "requests.sqlite").execute("SELECT reply FROM replies")
    assert "paid for" in kept[0]
    server.rule = lambda body: None
    assert make(server.url).generate(["q"], [1], PLAIN)[0].finished


@pytest.fixture
def server_of():
    with serve() as server:

        def of(fault):
            server.rule = lambda body: fault
            return server

        yield of


@pytest.mark.parametrize(
    "bomb",
    [fake_server.reply_without_end, fake_server.reply_packed(gzip.compress(b" " * (1 << 25)))],
)
@pytest.mark.bad_input("server", "a reply without end, or a bomb of gzip", "refused, unread")
def test_reply_without_end_is_not_read(make, server_of, bomb):
    server = server_of(bomb)
    with pytest.raises(UserError, match=r"more than 64 MiB|100 times its length"):
        make(server.url, concurrency=1, retries=0, timeout=600).generate(["q"], [1], PLAIN)


@pytest.mark.parametrize(
    "body",
    [
        fake_server.reply_nested(100_000, 400),
        lambda handler, body: handler.reply(400, b"<html>no</html>"),
        lambda handler, body: handler.reply(400, b"\xff\xfe\x00"),
        lambda handler, body: handler.reply(400, b""),
        lambda handler, body: handler.reply(400, None),
        lambda handler, body: handler.reply(400, [[1], {"detail": 3}]),
        lambda handler, body: handler.reply(400, {"error": None}),
        lambda handler, body: handler.reply(400, {"error": ["a"]}),
        lambda handler, body: handler.reply(400, {"error": {"message": {"deep": [1]}}}),
        lambda handler, body: handler.reply(400, {"error": {"code": [1], "param": {"a": 1}}}),
        lambda handler, body: handler.reply(400, {"detail": [{"loc": ["body"], "msg": "no"}]}),
        lambda handler, body: handler.reply(400, b'{"error": ' + b"9" * 5_000 + b"}"),
    ],
)
@pytest.mark.bad_input("server", "an error of any shape, nested 100,000 deep", "of its row")
def test_error_of_any_shape_is_of_its_row(make, body):
    with serve() as server:
        server.rule = lambda asked: body if asked["prompt"] == "bad" else None
        good, bad = make(server.url).generate(["good", "bad"], [1, 2], PLAIN)
    assert good.finished
    assert bad.fault.startswith("400")
    assert len(bad.fault) < 320


def test_error_within_a_body_of_status_200_counts_as_one(make):
    def error(code, message):
        return reply_with({"error": {"message": message, "code": code}})

    with serve() as server:
        server.faults.extend([error(429, "slow down"), error("502", "upstream")])
        server.rule = lambda body: error(400, "too long") if body["prompt"] == "bad" else None
        good, bad = make(server.url, concurrency=1).generate(["good", "bad"], [1, 2], PLAIN)
        assert good.finished
        assert bad.fault == "400: too long"
        server.rule = lambda body: error(401, "no key")
        with pytest.raises(UserError, match="OPENAI_API_KEY"):
            make(server.url).generate(["next"], [1], PLAIN)


def test_redaction_escapes_of_terminals_are_in_no_error_and_no_fault(make, caplog):
    escape = "\x1b[2J\x1b]0;owned\x07no"
    with serve() as server:
        server.faults.extend([reply_with_error(500, escape), reply_with_error(400, escape)])
        engine = make(server.url, concurrency=1)
        [bad] = engine.generate(["bad"], [1], PLAIN)
        assert bad.fault == "400: no"
        server.rule = lambda body: reply_with_error(403, escape)
        with pytest.raises(UserError) as caught:
            engine.generate(["b"], [1], PLAIN)
    assert "\x1b" not in str(caught.value) + caplog.text


def test_redaction_of_a_key_in_a_header_of_its_own_and_a_query(make, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-azure-alone")
    with serve() as server:
        url = f"{server.url}?api-version=2024-02-01"
        make(url, api_key_header="api-key").generate(["q"], [1], PLAIN)
        [seen] = server.seen
    assert seen.path == "/v1/completions?api-version=2024-02-01"
    assert seen.headers["api-key"] == "sk-for-azure-alone"
    assert "Authorization" not in seen.headers


@pytest.mark.parametrize(
    "spelt", ["sk-a\\/long+key", "sk-a\\u002flong\\u002bkey", "sk-a%2Flong%2Bkey"]
)
@pytest.mark.bad_input(
    "server", "a reply that repeats the key in an escaped form", "[key], on disk too"
)
def test_redaction_the_key_is_in_no_reply_that_is_kept(make, monkeypatch, tmp_path, spelt):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a/long+key")
    message = f'{{"content": [{{"type": "audio", "name": "{spelt}"}}], "note": "{spelt}"}}'
    reply = f'{{"choices": [{{"message": {message}}}], "id": "{spelt}"}}'.encode()
    with serve() as server:
        server.rule = lambda body: reply_with(reply)
        engine = make(server.url)
        [written] = engine.generate(["q"], [1], CHAT)
    assert "audio" in written.fault
    [kept] = sqlite3.connect(tmp_path / "requests.sqlite").execute("SELECT reply FROM replies")
    assert "[key]" in kept[0]
    assert "long" not in kept[0]


# --- log-probabilities ----------------------------------------------------------------------------


def scored(*logprobs):
    return {
        "choices": [
            {"text": "a b", "logprobs": {"tokens": ["a", " b"], "token_logprobs": [*logprobs]}}
        ]
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [(math.nan, "NaN"), (0.5, "positive"), (None, "missing"), ("-1", "no number"), ([], "no num")],
)
@pytest.mark.bad_input(
    "server", "log-probabilities that are NaN, positive or missing", "a fault of their row"
)
def test_unusable_log_probability_is_a_fault_of_its_row(value, said):
    reply = scored(None, value)
    kept = read_score(reply, " b")
    assert said in kept["fault"]
    assert kept["raw"] == reply["choices"][0]
    assert read_score(scored(None, -1.5), " b") == {"logprob": -1.5, "tokens": 1}


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"logprobs": []},
        {"logprobs": "none"},
        {"logprobs": {"tokens": "ab", "token_logprobs": 7}},
        {"logprobs": {"tokens": ["a"], "token_logprobs": [None, -1]}},
        {"logprobs": {"content": [7]}},
        {"logprobs": {"content": {"a": 1}, "top_logprobs": [7]}},
        {"logprobs": {"top_logprobs": {"a": 1}}},
        {"prompt_logprobs": "x", "logprobs": 3},
    ],
)
def test_log_probabilities_of_any_shape_are_none(choice):
    reply = {"choices": [choice], "usage": "x"}
    assert "fault" in read_score(reply, " b")
    assert read_top_tokens(reply) == []


def test_prompt_log_probabilities_of_any_shape_are_a_fault():
    for odd in ([None, 7], [None, {}], [None, {"1": 7}], [None, {"1": {"decoded_token": 9}}]):
        kept = read_score({"choices": [{"prompt_logprobs": odd}]}, "b")
        assert kept.keys() in ({"all"}, {"fault", "raw"})


def test_first_tokens_that_are_no_log_probabilities_are_passed_over():
    top = {"yes": -0.5, "no": math.nan, "perhaps": 2.0, "maybe": None}
    assert read_top_tokens({"choices": [{"logprobs": {"top_logprobs": [top]}}]}) == [("yes", -0.5)]
