"""A server's faults: those that pass are outlasted, one prompt's are its row's, and the others end
the job at once with what to do."""

import pytest
from helpers import fake_server
from helpers.fake_server import (
    MODEL,
    answer_always,
    derive_text,
    drop_connection,
    fail_at_random,
    reply_with,
    reply_with_error,
    serve,
)
from helpers.http_engine import KEY, PROMPTS, SAMPLED, SEEDS, TEXTS

from distill.errors import UserError
from distill.llm import Completion, Sampling
from distill.remote.faults import ErrorBody, find_unknown_field

SCHEMA = '{"type": "object"}'


@pytest.mark.parametrize(
    "fault",
    [
        reply_with_error(429),
        reply_with_error(429, retry_after="0"),
        reply_with_error(500),
        reply_with_error(502),
        reply_with_error(503, retry_after="0.01"),
        reply_with_error(529),
        drop_connection,
        fake_server.truncate_body,
        reply_with(b'{"choices": [{"text": "half a'),
        reply_with(b"<html>Bad gateway</html>"),
        reply_with({"error": {"message": "upstream", "code": 502}}),
        reply_with({"choices": []}),
        reply_with({"choices": [{"index": 0}]}),
        reply_with([]),
        reply_with(b"[" * 100_000),
    ],
)
def test_requests_are_sent_again_after_a_fault_that_may_pass(make, server, fault):
    engine = make(server.url)
    # A server that has answered well, so that a reply that is none may pass, too.
    assert engine.generate(PROMPTS[:1], SEEDS[:1], SAMPLED) == TEXTS[:1]
    server.faults.extend([fault, fault, None, fault])
    assert engine.generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert engine.tokens["failures"] == 3
    assert len(server.seen) == len(PROMPTS) + 3


def test_bad_day(make, server):
    server.rule = fail_at_random(
        reply_with_error(429),
        reply_with_error(500),
        drop_connection,
        fake_server.truncate_body,
        reply_with(b"{"),
        share=0.3,
    )
    assert make(server.url, retries=20).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS


@pytest.mark.parametrize("fault", [fake_server.trickle_without_end, fake_server.give_no_reply])
def test_slow_reply_is_given_up_and_asked_again(make, server, fault):
    server.faults.append(fault)
    engine = make(server.url, timeout=0.5)
    assert engine.generate(PROMPTS[:2], SEEDS[:2], SAMPLED) == TEXTS[:2]
    assert engine.tokens["failures"] >= 1  # of a busy machine other replies may be slow, too


def test_overloaded_server_is_asked_less_at_once_and_then_more(make):
    with serve(fake_server.answer_by_prompt(seconds=0.002)) as server:
        engine = make(server.url, concurrency=8, retries=50)
        limit = engine.client.server.limit
        server.faults.extend([reply_with_error(429)] * 40)
        engine.generate(PROMPTS, SEEDS, SAMPLED)
        lowest = limit.limit
        assert lowest < 8
        engine.generate([f"more {i}" for i in range(100)], range(100), SAMPLED)
        assert limit.limit == 8


def test_rate_limits_cost_no_try_while_the_server_answers_others(make, server):
    """Of each three requests two are refused for their rate: every prompt may meet many."""
    seen = iter(range(10**6))
    server.rule = lambda body: reply_with_error(429) if next(seen) % 3 else None
    assert make(server.url, retries=4).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.bad_input("server", "errors until retries end", "what arrived is kept")
def test_replies_are_kept_when_retries_are_exhausted(make, server):
    """The server goes down with the fourth prompt."""

    def rule(body):
        down = any(seen.body["prompt"] == PROMPTS[3] for seen in server.seen)
        return reply_with_error(503, "out of memory") if down else None

    server.rule = rule
    with pytest.raises(UserError) as caught:
        make(server.url, retries=2, concurrency=1).generate(PROMPTS, SEEDS, SAMPLED)
    said = str(caught.value)
    assert server.url in said
    assert MODEL in said
    assert "in 3 tries (503: out of memory)" in said
    assert "same command continues" in said
    server.rule = lambda body: None
    before = len(server.seen)
    assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert {s.body["prompt"] for s in server.seen[before:]} == set(PROMPTS[3:])


@pytest.mark.bad_input("server", "nobody listens", "refused with the address")
def test_server_that_is_not_there(make):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: did not answer.*Connect"):
        make("http://127.0.0.1:9/v1", retries=1).generate(PROMPTS, SEEDS, SAMPLED)


@pytest.mark.bad_input("server", "a model that the server has not", "refused, the right one named")
def test_wrong_model_name_ends_the_job_and_names_the_right_one(make, server):
    with pytest.raises(UserError) as caught:
        make(server.url, model="gpt-0", concurrency=1).generate(PROMPTS, SEEDS, SAMPLED)
    assert server.url in str(caught.value)
    assert "'gpt-0'" in str(caught.value)
    assert f"set llm.model to one that it serves: {MODEL}" in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.bad_input("secrets", "a key that is refused", "refused, not shown")
@pytest.mark.parametrize("code", [401, 403])
def test_refused_key_ends_the_job_and_is_not_shown(make, server, code):
    server.rule = lambda body: reply_with_error(code, f"Incorrect API key provided: {KEY}.")
    with pytest.raises(UserError, match=r"refuses the key in OPENAI_API_KEY") as caught:
        make(server.url, concurrency=1).generate(PROMPTS, SEEDS, SAMPLED)
    assert KEY not in str(caught.value)
    assert "[key]" in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.bad_input("secrets", "a key that is missing", "refused, the variable named")
def test_missing_key_is_asked_for(make, server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.rule = lambda body: reply_with_error(401, "no key")
    with pytest.raises(UserError, match="there is none in OPENAI_API_KEY"):
        make(server.url).generate(PROMPTS, SEEDS, SAMPLED)
    assert "Authorization" not in server.seen[0].headers


@pytest.mark.bad_input("server", "an account without money", "ends at once")
def test_empty_account_is_not_asked_again(make, server):
    broke = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    server.rule = lambda body: lambda handler, _: handler.reply(429, broke)
    with pytest.raises(UserError, match="exceeded your quota"):
        make(server.url, concurrency=1).generate(PROMPTS, SEEDS, SAMPLED)
    assert len(server.seen) == 1


@pytest.mark.bad_input("attack", "a server that redirects", "refused, the key stays")
def test_redirects_are_not_followed(make, server):
    with serve() as other:
        place = f"{other.url}/completions"
        server.rule = lambda body: reply_with_error(307, location=place)
        with pytest.raises(UserError, match="redirects to"):
            make(server.url).generate(PROMPTS, SEEDS, SAMPLED)
        assert other.seen == []


# --- refusals of one prompt, and of a field -------------------------------------------------------


def test_refused_prompt_is_a_fault_of_its_row(make, server):
    too_long = "This model's maximum context length is 8 tokens; 'max_tokens' is too large"

    def rule(body):
        return (
            reply_with_error(400, too_long, param="max_tokens")
            if body["prompt"] == PROMPTS[2]
            else None
        )

    server.rule = rule
    engine = make(server.url)
    texts = engine.generate(PROMPTS, SEEDS, SAMPLED)
    assert texts[2] == Completion("", False, fault=f"400: {too_long}")
    assert texts[:2] + texts[3:] == TEXTS[:2] + TEXTS[3:]
    assert engine.tokens["failures"] == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (403, "Your chosen model requires moderation and your input was flagged"),
        (403, "The prompt violates our policy"),
        (429, "Request too large for gpt-4 on tokens per min (TPM): Limit 9, Requested 12"),
    ],
)
def test_refusal_that_is_about_a_prompt_is_a_fault_of_its_row_whatever_its_status(
    make, server, code, said
):
    server.rule = lambda body: (
        reply_with_error(code, said) if body["prompt"] == PROMPTS[2] else None
    )
    texts = make(server.url).generate(PROMPTS, SEEDS, SAMPLED)
    assert texts[2].fault == f"{code}: {said}"
    assert texts[:2] + texts[3:] == TEXTS[:2] + TEXTS[3:]
    assert len(server.seen) == len(PROMPTS)


def test_filtered_text_is_a_fault_of_its_row(make):
    with serve(answer_always("", end="content_filter")) as server:
        [written] = make(server.url).generate(["a"], [1], SAMPLED)
    assert not written.finished
    assert "content filter" in written.fault


@pytest.mark.bad_input("server", "every prompt is refused", "the job ends")
def test_server_that_refuses_every_prompt_ends_the_job(make, server):
    server.rule = lambda body: reply_with_error(400, "no chat template is defined")
    with pytest.raises(UserError, match=r"refuses every prompt.*no chat template") as caught:
        make(server.url).generate(PROMPTS, SEEDS, Sampling(20, 0.7, chat=True))
    assert "generate.max_passage_words" in caught.value.remedy
    assert "relabel.max_passage_words" in caught.value.remedy


def test_field_of_ones_own_that_is_refused_is_named_in_the_remedy(make, server):
    server.rule = lambda body: reply_with_error(400, "Unknown parameter: 'effort'")
    with pytest.raises(UserError, match="Unknown parameter") as caught:
        make(server.url, extra_body={"effort": "low"}).generate(PROMPTS, SEEDS, SAMPLED)
    assert "llm.extra_body" in caught.value.remedy
    assert "effort" in caught.value.remedy


def test_field_that_the_server_does_not_know_is_left_out(make, server, caplog):
    def rule(body):
        if "response_format" in body:
            return reply_with_error(400, "Unrecognized request argument supplied: response_format")
        if "seed" in body:
            return reply_with_error(400, "Extra inputs are not permitted", param="seed")
        return None

    server.rule = rule
    sampling = Sampling(20, 0.7, json_schema=SCHEMA)
    texts = make(server.url).generate(PROMPTS, SEEDS, sampling)
    assert texts == [Completion(derive_text(prompt, None, 0), True) for prompt in PROMPTS]
    told = [record.getMessage() for record in caplog.records]
    assert sum("does not take 'response_format'" in line for line in told) == 1
    assert sum("does not take 'seed'" in line for line in told) == 1
    sent = len(server.seen)
    assert make(server.url).generate(PROMPTS, SEEDS, sampling) == texts
    assert len(server.seen) == sent


def test_max_tokens_goes_by_its_new_name_where_the_server_wants_it(make, server):
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.rule = lambda body: (
        reply_with_error(400, said, "max_tokens") if "max_tokens" in body else None
    )
    assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert server.seen[-1].body["max_completion_tokens"] == 20


def test_message_about_length_is_not_about_a_field():
    long = ErrorBody(
        "'max_tokens' is too large: unsupported. The context length is 8.", "", "max_tokens"
    )
    assert find_unknown_field(long, {"max_tokens": 8}) is None
    assert find_unknown_field(ErrorBody("seed is not supported", "", ""), {"seed": 1}) == "seed"
    assert find_unknown_field(ErrorBody("seed is not supported", "", ""), {"prompt": ""}) is None


def test_reply_of_any_status_of_success_is_read(make, server):
    """Some frameworks answer every POST with 201, and what was written is paid for."""
    server.rule = lambda body: (
        lambda handler, sent: handler.reply(201, handler.server.answer(handler.path, sent))
    )
    assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
