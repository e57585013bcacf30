"""The LLM in this process scores and writes on a GPU what it does on the CPU."""

import pytest
from conftest import SMOLLM2
from helpers.tiny_models import TEXTS
from scipy.stats import kendalltau

from distill.llm import Sampling, ScoreRequest
from distill.llm.transformers.engine import TransformersEngine

HEADER = "Read the passage and write the query that it answers, as a person would type it.\n\n"
QUERIES = (" why do bees dance", " moon", " what are wires made of and why is that so")
REQUESTS = [
    ScoreRequest(f"{HEADER}Passage: {text}\nQuery:", QUERIES, (" yes", " no")) for text in TEXTS[:4]
]
TOLERANCE = {"float32": 1e-2, "bfloat16": 0.3}


def all_scores(engine: TransformersEngine, requests: list[ScoreRequest]) -> list[float]:
    """Of each continuation (query likelihood), and of the verdicts behind it (relevance)."""
    scores = [score for several in engine.score(requests) for score in several]
    return [value for score in scores for value in (score.logprob, *score.endings)]


def test_packed_scores_are_those_of_the_cpu(device, llm_folder):
    cpu = all_scores(TransformersEngine(str(llm_folder), "float32", "cpu"), REQUESTS)
    there = all_scores(TransformersEngine(str(llm_folder), "float32", device), REQUESTS)
    assert there == pytest.approx(cpu, abs=TOLERANCE["float32"])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_scores_and_rankings_of_a_real_model_are_those_of_the_cpu(cuda, dtype):
    """Query likelihood a token, and verdicts, over all pairs of texts and queries."""
    queries = tuple(f" {text.split(';')[0].split(',')[0].lower()}" for text in TEXTS)
    requests = [ScoreRequest(f"{HEADER}{text}\n", queries, (" yes", " no")) for text in TEXTS]
    engines = [TransformersEngine(SMOLLM2, t, d) for t, d in (("float32", "cpu"), (dtype, cuda))]
    cpu, there = (engine.score(requests) for engine in engines)
    for ours, theirs in zip(there, cpu, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            # The tolerance is a token's: a text's sum has as many roundings as tokens.
            assert one.logprob / one.tokens == pytest.approx(
                other.logprob / other.tokens, abs=TOLERANCE[dtype]
            )
            assert one.endings == pytest.approx(other.endings, abs=TOLERANCE[dtype])
        tau = kendalltau([s.logprob for s in ours], [s.logprob for s in theirs]).statistic
        assert tau > (0.99 if dtype == "float32" else 0.85)


def test_greedy_texts_are_those_of_the_cpu(device, llm_folder):
    prompts = [request.prefix for request in REQUESTS]
    engines = [TransformersEngine(str(llm_folder), "float32", d) for d in ("cpu", device)]
    cpu, there = (e.generate(prompts, range(4), Sampling(6, 0.0)) for e in engines)
    assert there == cpu


def test_drawn_and_constrained_texts_are_those_of_the_cpu(device, llm_folder):
    prompts = [request.prefix for request in REQUESTS[:2]]
    engines = [TransformersEngine(str(llm_folder), "float32", d) for d in ("cpu", device)]
    sampling = Sampling(6, 0.9, 0.95, stop=("\n\n",), regex="[a-z ]{3,12}")
    cpu, there = (e.generate(prompts, range(2), sampling) for e in engines)
    assert there == cpu


@pytest.mark.gpu
def test_greedy_texts_of_a_real_model_are_those_of_the_cpu(cuda):
    """But where two tokens are equally likely to the last digits: one text in eight may differ."""
    prompts = [f"{text}\n\nIn other words:" for text in TEXTS[:8]]
    engines = [TransformersEngine(SMOLLM2, "float32", d) for d in ("cpu", cuda)]
    cpu, there = (e.generate(prompts, range(8), Sampling(24, 0.0)) for e in engines)
    assert sum(a == b for a, b in zip(cpu, there, strict=True)) >= 7
