"""The HTTP engine against a real local server that misbehaves in every way that servers do."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers import fake_server
from helpers.fake_server import (
    MODEL,
    answer_always,
    derive_text,
    fail_at_random,
    reply_with_error,
    serve,
    trickle_body,
)
from helpers.http_engine import KEY, PROMPTS, SAMPLED, SEEDS, TEXTS
from helpers.ray_work import wait_until

from distill.errors import UserError
from distill.llm import Completion, Sampling
from distill.runtime.progress import Progress


def test_replies_count_on_the_bar_cached_ones_too(make, server):
    with Progress("generations", 20, "prompts", requests_a_unit=1) as bar:
        make(server.url).generate(PROMPTS[:5], SEEDS[:5], SAMPLED)
        assert bar.amount == "5 of 20 prompts"
    with Progress("generations", 20, "prompts", requests_a_unit=1) as bar:
        make(server.url).generate(PROMPTS[:8], SEEDS[:8], SAMPLED)
        assert bar.amount == "8 of 20 prompts"


# --- what is asked --------------------------------------------------------------------------------


def test_texts_come_in_the_order_of_their_prompts(make, server):
    server.rule = fail_at_random(trickle_body(0.05), share=0.5)
    assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS


def test_completion_is_asked_for_with_its_sampling_and_seed(make, server):
    engine = make(server.url, extra_body={"min_p": 0.1})
    engine.generate(["Go on"], [7], Sampling(20, 0.7, 0.9, stop=("\n\n",)))
    [seen] = server.seen
    assert seen.path == "/v1/completions"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert seen.body == {
        "model": MODEL,
        "prompt": "Go on",
        "max_tokens": 20,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n\n"],
        "min_p": 0.1,
    }


def test_chat_prompt_is_one_user_message(make, server):
    [written] = make(server.url).generate(["Say so"], [7], Sampling(20, 0.7, chat=True))
    [seen] = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.body["messages"] == [{"role": "user", "content": "Say so"}]
    assert written == Completion(derive_text("Say so", 7, 0), True)


def test_equal_prompts_go_as_one_request(make, server):
    texts = make(server.url).generate(["a", "a", "a", "b"], [1, 2, 3, 4], SAMPLED)
    asked = {(seen.body.get("n"), seen.body["prompt"]) for seen in server.seen}
    assert asked == {(3, "a"), (None, "b")}
    assert len(server.seen) == 2
    assert [t.text for t in texts[:3]] == [derive_text("a", 1, draw) for draw in range(3)]


def test_server_that_returns_fewer_choices_is_asked_singly(make, caplog):
    with serve(fake_server.answer_by_prompt(choices=1)) as server:
        engine = make(server.url, concurrency=1)
        texts = engine.generate(["a", "a", "a", "b", "b"], [1, 2, 3, 4, 5], SAMPLED)
        assert [t.text for t in texts] == [
            derive_text(p, s, 0) for p, s in zip("aaabb", [1, 2, 3, 4, 5], strict=True)
        ]
        sent = len(server.seen)
        engine.generate(["c", "c"], [6, 7], SAMPLED)
        assert [seen.body.get("n") for seen in server.seen[sent:]] == [None, None]
    assert "one choice per request" in caplog.text


def test_server_that_does_not_know_n_is_asked_singly(make, server):
    server.rule = lambda body: (
        reply_with_error(400, "'n' is not supported") if "n" in body else None
    )
    texts = make(server.url).generate(["a", "a"], [1, 2], SAMPLED)
    assert [t.text for t in texts] == [derive_text("a", seed, 0) for seed in (1, 2)]


def test_greedy_text_is_asked_for_once(make, server):
    texts = make(server.url).generate(["a", "b", "a"], [1, 2, 3], Sampling(20))
    assert len(server.seen) == 2
    assert texts[0] == texts[2]
    assert "seed" not in server.seen[0].body


def test_requests_at_once_are_never_more_than_allowed(make):
    def answer(path, body):
        wait_until(lambda: server.most_at_once >= 3)
        return fake_server.answer_by_prompt()(path, body)

    with serve(answer) as server:
        make(server.url, concurrency=3).generate(PROMPTS, SEEDS, SAMPLED)
        assert server.most_at_once == 3


def test_texts_end_before_a_stop_string_that_the_server_does_not_heed(make):
    with serve(answer_always("one\n\ntwo", end="length")) as server:
        [written] = make(server.url).generate(["a"], [1], Sampling(20, stop=("\n\n",)))
    assert written == Completion("one", True)


THOUGHT = "<think>\nA passage of bees.\n\nSo: bees.\n</think>\n\n"


def heeds_stop_strings(text):
    """A server that ends the text before a stop string, wherever that stands."""

    def answer(path, body):
        ends = [at for at in map(text.find, body.get("stop", ())) if at >= 0]
        return fake_server.make_completion(path, [text[: min(ends, default=None)]])

    return answer


def test_stop_string_in_the_thoughts_costs_no_reply(make):
    stop = Sampling(200, stop=("\n\n",))
    with serve(heeds_stop_strings(f"{THOUGHT}Query: bees\n\nmore")) as server:
        expected = [Completion(f"{THOUGHT}Query: bees", True)] * 2
        assert make(server.url).generate(["a", "b"], [1, 2], stop) == expected
        sent = [seen.body.get("stop") for seen in server.seen]
        assert sorted(map(str, sent)) == ["None", "None", "['\\n\\n']", "['\\n\\n']"]
        assert make(server.url).generate(["a", "b"], [1, 2], stop) == expected
        assert len(server.seen) == 4, "both are kept"


def test_thoughts_that_never_end_are_asked_for_once(make):
    with serve(answer_always("<think>\nhm", end="length")) as server:
        [written] = make(server.url).generate(["a"], [1], Sampling(20, stop=("\n\n",)))
        assert written == Completion("<think>\nhm", False)
        assert len(server.seen) == 1


def test_text_cut_short_is_not_finished(make):
    with serve(answer_always("and then", end="length")) as server:
        assert make(server.url).generate(["a"], [1], SAMPLED) == [Completion("and then", False)]


def test_half_a_character_can_be_written_to_a_file(make):
    with serve(answer_always("a bee \ud83d", end="length")) as server:
        [written] = make(server.url).generate(["a"], [1], SAMPLED)
        server.rule = lambda body: reply_with_error(400, "no \ud83d")
        [refused] = make(server.url).generate(["b"], [1], SAMPLED)
    assert written.text == "a bee \ufffd"
    assert refused.fault.encode()


def test_tokens_are_those_that_the_server_counts(make, server):
    engine = make(server.url)
    engine.generate(["one two three", "one two"], [1, 2], SAMPLED)
    assert engine.tokens["prompt"] == 5
    assert engine.tokens["new"] == 6


# --- nothing is paid for twice --------------------------------------------------------------------


def test_second_run_sends_nothing(make, server):
    make(server.url).generate(PROMPTS, SEEDS, SAMPLED)
    sent = len(server.seen)
    again = make(server.url)
    assert again.generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    assert len(server.seen) == sent
    assert again.tokens["cached"] == len(PROMPTS)


def test_cache_does_not_depend_on_address_or_key(make, server, monkeypatch):
    make(server.url).generate(PROMPTS, SEEDS, SAMPLED)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert make("http://127.0.0.1:9/v1").generate(PROMPTS, SEEDS, SAMPLED) == TEXTS


def test_seed_changes_the_text(make, server):
    engine = make(server.url)
    [one] = engine.generate(["a"], [1], SAMPLED)
    [other] = engine.generate(["a"], [2], SAMPLED)
    assert one != other
    assert len(server.seen) == 2


def test_draws_kept_from_a_larger_request_are_not_asked_for_again(make, server):
    first = make(server.url).generate(["a", "a", "a"], [1, 2, 3], SAMPLED)
    again = make(server.url).generate(["a", "a", "a", "a"], [3, 1, 2, 4], SAMPLED)
    assert again[:3] == [first[2], first[0], first[1]]
    assert server.seen[1].body["seed"] == 4
    assert len(server.seen) == 2


SCRIPT = """
import signal, sys
from pathlib import Path
from distill.llm import Sampling
from distill.llm.http.engine import HTTPEngine
from distill.recipe import LanguageModel
url, cache = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest is in background
settings = LanguageModel(engine="http", model="tiny-model", base_url=url, concurrency=2)
prompts = [f"Passage: number {i}" for i in range(12)]
HTTPEngine(settings, Path(cache)).generate(prompts, range(100, 112), Sampling(20, 0.7, 0.9))
"""


def started(server: fake_server.Server, cache: Path, requests: int) -> subprocess.Popen[bytes]:
    """Another process that generates, once the server has seen so many requests of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url, str(cache)], stderr=subprocess.PIPE
    )
    wait_until(lambda: len(server.seen) >= requests or process.poll() is not None)
    return process


def test_killed_run_pays_only_for_what_had_not_arrived(make, server, tmp_path):
    server.faults.extend([None] * 5)
    server.rule = lambda body: fake_server.trickle_without_end
    process = started(server, tmp_path / "requests.sqlite", requests=7)
    process.kill()
    process.communicate()
    server.rule = lambda body: None
    assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
    sent = [seen.body["prompt"] for seen in server.seen]
    assert sorted(sent[7:]) == sorted(set(PROMPTS) - set(sent[:5]))


def test_ctrl_c_keeps_what_is_in_flight(make, tmp_path):
    asked = threading.Event()

    def answer(path, body):
        asked.wait()
        return fake_server.answer_by_prompt()(path, body)

    with serve(answer) as server:
        process = started(server, tmp_path / "requests.sqlite", requests=2)
        process.send_signal(signal.SIGINT)
        asked.set()
        _, said = process.communicate()
        assert b"KeyboardInterrupt" in said
        assert sorted(seen.body["prompt"] for seen in server.seen) == sorted(PROMPTS[:2])
        assert make(server.url).generate(PROMPTS, SEEDS, SAMPLED) == TEXTS
        assert len(server.seen) == len(PROMPTS)


@pytest.mark.bad_input("shape of a recipe", "extra_body that overrules the recipe", "refused")
def test_extra_fields_cannot_overrule_the_recipe(make):
    with pytest.raises(UserError, match="temperature"):
        make("http://127.0.0.1:9/v1", extra_body={"temperature": 2, "min_p": 0.1})
