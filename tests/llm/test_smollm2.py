"""The engine with a real model from a wheel, in GGUF."""

import pytest
import torch
from conftest import SMOLLM2

from distill.llm import Sampling, ScoreRequest
from distill.llm.transformers_engine import TransformersEngine
from distill.prompts import load_prompt, packaged_recipes

pytestmark = pytest.mark.slow

PASSAGES = [
    "Bees dance to tell other bees where the flowers are: the angle of the dance is the angle "
    "between the sun and the flowers.",
    "Copper conducts electricity well and does not rust, so wires are made of it.",
]
QUERIES = ["why do bees dance", "what are electric wires made of"]


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine(SMOLLM2, dtype="float32", device="cpu")


def test_shared_prefix_equals_one_full_prompt_a_pair(engine):
    prompt = load_prompt("prompts/ql.jinja", packaged_recipes(), parts=2)
    prefixes = [prompt.render(passage=passage) for passage in PASSAGES]
    continuations = tuple(f" {query}" for query in QUERIES)
    scores = engine.score([ScoreRequest(prefix, continuations) for prefix in prefixes])
    for prefix, of_prefix in zip(prefixes, scores, strict=True):
        for continuation, score in zip(continuations, of_prefix, strict=True):
            start = engine._ids(prefix, first=True)
            ids = torch.tensor([start + engine._ids(continuation, first=False)])
            with torch.inference_mode():
                logits = engine.model(input_ids=ids).logits[0, len(start) - 1 : -1]
            plain = logits.log_softmax(-1).gather(1, ids[0, len(start) :, None]).sum()
            assert score.logprob == pytest.approx(float(plain), abs=1e-3)


def test_the_likelier_query_is_the_one_that_the_passage_answers(engine):
    prompt = load_prompt("prompts/ql.jinja", packaged_recipes(), parts=2)
    requests = [
        ScoreRequest(prompt.render(passage=passage), tuple(f" {query}" for query in QUERIES))
        for passage in PASSAGES
    ]
    bees, wires = engine.score(requests)
    assert bees[0].logprob > wires[0].logprob
    assert wires[1].logprob > bees[1].logprob


def test_it_writes_what_can_be_parsed(engine):
    from distill.generate.parse import normalise, parse

    prompt = load_prompt("prompts/fret.jinja", packaged_recipes(), parts=1)
    copied = frozenset(normalise(example["query"]) for example in prompt.examples)
    prompts = [
        prompt.render(passage=passage, task_type=task_type)
        for passage in PASSAGES
        for task_type in ("question answering", "keyword search")
    ]
    written = engine.generate(prompts, range(4), Sampling(48, 0.5, 0.95, ("\n\n", "\nPassage:")))
    parsed = [parse(text, finished, copied) for text, finished in written]
    assert sum(one.reason is None for one in parsed) >= 2
