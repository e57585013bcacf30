"""The vLLM engine on a CPU, against the transformers engine where the two must agree."""

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from contract_vllm.prompts import (
    COMPLETIONS,
    LIKELIHOODS,
    MESSAGES,
    REGEX,
    SCHEMA,
    VERDICTS,
    largest_difference,
    needs_vllm,
)

from distill.errors import UserError
from distill.llm import Sampling, ScoreRequest
from distill.llm.vllm.engine import VLLMEngine

pytestmark = needs_vllm
GREEDY = Sampling(max_new_tokens=16, stop=("\n",))
SEEDS = [3, 1, 2]


@pytest.fixture(scope="module")
def engine(settings):
    """Two copies of the model, so that all below also holds of shared work."""
    engine = VLLMEngine(settings.model_copy(update={"data_parallel": 2}))
    yield engine
    engine.close()


@pytest.mark.parametrize("chat", [False, True])
def test_greedy_text_is_that_of_the_transformers_engine(engine, plain, chat):
    prompts = MESSAGES if chat else COMPLETIONS
    sampling = Sampling(max_new_tokens=16, stop=("\n",), chat=chat)
    assert engine.generate(prompts, SEEDS, sampling) == plain.generate(prompts, SEEDS, sampling)


def test_seed_settles_the_text_whatever_the_batch(engine):
    sampling = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.95)
    together = engine.generate([*COMPLETIONS, COMPLETIONS[0]], [*SEEDS, 9], sampling)
    reversed_alone = [
        engine.generate([prompt], [seed], sampling)[0]
        for prompt, seed in reversed(list(zip(COMPLETIONS, SEEDS, strict=True)))
    ]
    assert together[:3] == reversed_alone[::-1]
    assert together[0] != together[3]


def test_finished_says_whether_the_text_came_to_an_end(engine):
    stopped, cut = (
        engine.generate(COMPLETIONS[:1], [0], Sampling(max_new_tokens=n, stop=("\n",)))[0]
        for n in (40, 2)
    )
    assert stopped.finished
    assert not cut.finished
    assert stopped.text.startswith(cut.text)
    assert "\n" not in stopped.text


def test_prompt_that_is_too_long_is_named_and_the_others_are_written(engine):
    texts = engine.generate([COMPLETIONS[0], "x " * 3000, COMPLETIONS[1]], SEEDS, GREEDY)
    assert "2048" in texts[1].fault
    assert texts[::2] == engine.generate(COMPLETIONS[:2], SEEDS[:2], GREEDY)


def test_structured_output_obeys_a_regular_expression(engine):
    sampling = Sampling(max_new_tokens=24, temperature=1.0, regex=REGEX)
    for text in engine.generate(COMPLETIONS, SEEDS, sampling):
        assert re.fullmatch(REGEX, text.text)
        assert text.finished


@pytest.mark.parametrize("chat", [False, True])
def test_structured_output_obeys_a_json_schema(engine, chat):
    sampling = Sampling(max_new_tokens=60, temperature=1.0, json_schema=SCHEMA, chat=chat)
    for text in engine.generate(MESSAGES, SEEDS, sampling):
        row = json.loads(text.text)
        assert set(row) == {"task", "relevant"}
        assert isinstance(row["relevant"], bool)


def test_structured_output_that_vllm_refuses_is_an_error_of_the_user(engine):
    with pytest.raises(UserError, match="look-around"):
        engine.generate(COMPLETIONS, SEEDS, Sampling(max_new_tokens=4, regex="(?<=a)b"))
    assert engine.generate(COMPLETIONS[:1], SEEDS[:1], GREEDY)[0].finished


def test_passage_adds_no_special_token(engine):
    def tokens(text, chat):
        before = engine.tokens["prompt"]
        engine.generate([text], [0], Sampling(max_new_tokens=1, chat=chat))
        return engine.tokens["prompt"] - before

    for chat in (False, True):
        mark = tokens("The river<|im_end|>", chat) - tokens("The river", chat)
        assert mark > 3  # the mark's letters: as a special token it is one


def test_scores_are_those_of_the_transformers_engine(engine, plain, caplog):
    with caplog.at_level(logging.INFO):
        likelihoods = engine.score(LIKELIHOODS)
    assert largest_difference(likelihoods, plain.score(LIKELIHOODS)) < 1e-2
    assert largest_difference(engine.score(VERDICTS), plain.score(VERDICTS)) < 1e-2
    assert "behind the cached prefix" in caplog.text


def test_scores_hold_wherever_a_block_of_the_cache_ends(engine, plain):
    """Prefixes of every length around a block's; and all of it a second time, from the cache."""
    words = " river" * 40
    requests = [
        ScoreRequest(words + " rose" * n, (" and fell", " and fell again", "."))
        for n in range(20, 30)
    ]
    expected = plain.score(requests)
    before = dict(engine.tokens)
    for _ in range(2):
        assert largest_difference(engine.score(requests), expected) < 1e-2
    asked = {key: engine.tokens[key] - before[key] for key in before}
    assert asked["shared"] > asked["prompt"] / 2


def test_continuation_that_is_empty_is_refused(engine):
    with pytest.raises(UserError, match="empty"):
        engine.score([ScoreRequest("A river", (" rose", ""))])


def test_continuation_that_is_too_long_has_no_score_and_others_keep_theirs(engine):
    short = ScoreRequest("A river", (" rose", " fell"))
    expected = engine.score([short])
    mixed = ScoreRequest("A river", (" rose", " rose" * 2100, " fell"))
    ((first, unusable, last),) = engine.score([mixed])
    assert "2047 tokens" in unusable.fault
    assert math.isnan(unusable.logprob)
    assert largest_difference([[first, last]], expected) < 1e-2


def test_vllm_processes_end_with_a_killed_parent():
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from distill.llm.vllm.process import ModelProcess\n"
            "copy = ModelProcess('a model', {'model': 'nowhere'}, None)\n"
            "print(copy.process.pid, flush=True)\n"
            "copy.receive()",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    session = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.5)
    pytest.fail("the session of the child is still there")


def test_rows_alone_are_asked_for_only_where_the_cache_cannot_reach():
    """vLLM's V2 model runner (GPUs) gives no row at all if the cache holds the first one asked for;
    and the rows must be those of the tokens that no earlier continuation has."""
    from distill.llm.vllm.scoring import ROWS, _find_first_row, _iterate_pairs

    block = 8
    several = [[1, 2, 3], [1, 2, 4, 5, 6, 7, 8, 9, 1, 2], [3], [1, 2, 4], [1, 2, 4, 5]]
    for length in range(5, 30):
        known = set()
        for pair in _iterate_pairs([(list(range(length)), several)]):
            cached = (length + pair.shared) // block * block
            first = _find_first_row(pair, block)
            params = ROWS.params(pair, block)
            left_out = {tuple(pair.continuation[: n + 1]) for n in range(first)} - known
            assert len(left_out) <= 1, "at most the token right behind a cached block"
            assert not left_out or cached == length + first - 1
            if first < len(pair.continuation):
                assert params.prompt_logprob_start == length + first - 1 >= cached
                assert params.prompt_logprob_token_ids[:, 0].tolist() == pair.continuation[first:]
            known |= {tuple(pair.continuation[: n + 1]) for n in range(len(pair.continuation))}
