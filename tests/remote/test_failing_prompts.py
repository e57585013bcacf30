"""Prompts that fail at each try: by themselves, by one that ends the server, or in an outage."""

import threading

import pytest
from helpers import fake_server
from helpers.fake_server import drop_connection, reply_with_error
from helpers.http_engine import PROMPTS, SAMPLED, SEEDS, TEXTS

from distill.errors import UserError
from distill.llm import Sampling


@pytest.mark.bad_input("server", "one prompt is an error 500 each time", "a fault of its row")
@pytest.mark.bad_input("server", "one prompt ends the connection each time", "a fault of its row")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        *(
            (reply_with_error(code, "the tokenizer failed"), f"{code}: the tokenizer failed")
            for code in (500, 502, 503, 504)
        ),
        (drop_connection, "RemoteProtocolError: Server disconnected without sending a response."),
    ],
    ids=["500", "502", "503", "504", "dropped"],
)
@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("number", [2, 11])
def test_prompt_that_fails_at_each_try_while_another_is_answered_is_a_fault_of_its_row(
    make, server, number, chat, fault, said
):
    """Also where it is the last, and where a run goes on with it alone."""
    server.rule = lambda body: fault if fake_server.read_prompt(body) == PROMPTS[number] else None
    sampling = Sampling(20, 0.7, 0.9, chat=chat)
    for _ in range(2):
        texts = make(server.url, retries=2).generate(PROMPTS, SEEDS, sampling)
        assert texts[number].fault == f"{said} (5 tries)"
        assert texts[:number] + texts[number + 1 :] == TEXTS[:number] + TEXTS[number + 1 :]


def test_prompts_that_fail_with_one_that_ends_the_server_are_answered_alone(make, server):
    """Whatever is in flight with it is lost each time."""
    waiting, all_there = [], threading.Barrier(4)

    def rule(body):
        waiting.append(body["prompt"])
        return drop_beside if len(waiting) <= 12 or body["prompt"] == PROMPTS[0] else None

    def drop_beside(handler, body):
        if len(waiting) <= 12:
            all_there.wait(10)
        drop_connection(handler, body)

    server.rule = rule
    texts = make(server.url, retries=2).generate(PROMPTS[:4], SEEDS[:4], SAMPLED)
    assert texts[1:] == TEXTS[1:4]
    assert texts[0].fault.endswith("(5 tries)")


def test_server_that_ends_while_a_prompt_is_tried_alone_ends_the_job(make, server):
    others = []

    def rule(body):
        if body["prompt"] in PROMPTS[1:]:
            return None
        if body["prompt"] != PROMPTS[0]:
            others.append(body["prompt"])
        return drop_connection if body["prompt"] == PROMPTS[0] or len(set(others)) > 2 else None

    server.rule = rule
    with pytest.raises(UserError, match=r"did not answer.*[\s\S]*same command continues"):
        make(server.url, retries=2).generate(PROMPTS, SEEDS, SAMPLED)
    server.rule = lambda body: None
    before = len(server.seen)
    assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert [seen.body["prompt"] for seen in server.seen[before:]] == PROMPTS[:1]


def test_prompt_is_tried_once_more_where_the_server_is_well_again(make, server):
    """The server comes back between the prompt's last try and that of another text."""
    server.rule = lambda body: (
        reply_with_error(500) if all(s.body["prompt"] in PROMPTS for s in server.seen) else None
    )
    assert make(server.url, retries=2).generate(PROMPTS[:1], SEEDS[:1], SAMPLED) == TEXTS[:1]


@pytest.mark.bad_input("server", "an outage while a prompt is in flight", "the job ends")
@pytest.mark.parametrize(
    "fault", [drop_connection, *map(reply_with_error, (429, 500, 502, 503, 504, 529))]
)
def test_outage_is_no_prompts_fault_though_others_were_answered_meanwhile(make, server, fault):
    """The first prompt is in flight until the others are answered; then the server is down."""
    prompts, down = [f"Passage: number {i}" for i in range(30)], threading.Event()

    def fail(handler, body):
        down.wait()
        fault(handler, body)

    def answer(path, body):
        answered.append(body["prompt"])
        if len(answered) == len(prompts) - 1:
            down.set()
        return answer_by_prompt(path, body)

    answered, answer_by_prompt = [], server.answer
    server.answer = answer
    server.rule = lambda body: fail if down.is_set() or body["prompt"] == prompts[0] else None
    with pytest.raises(UserError, match=r"in 3 tries[\s\S]*same command continues"):
        make(server.url, retries=2).generate(prompts, list(range(30)), SAMPLED)
    server.rule = lambda body: None
    before = len(server.seen)
    assert not any(t.fault for t in make(server.url).generate(prompts, list(range(30)), SAMPLED))
    assert [seen.body["prompt"] for seen in server.seen[before:]] == prompts[:1]
