"""Judging by a tiny real model: passage-major equals one prompt a pair."""

import pytest

from distill.llm import ScoreRequest
from distill.llm.transformers_engine import TransformersEngine
from distill.prompts import load_prompt, packaged_recipes
from distill.relabel.judge import by_passage, judge_ql, judge_rc

PASSAGES = ["Bees dance to tell other bees where the flowers are.", "Tides follow the moon."]
QUERIES = ["why do bees dance", "what moves the sea"]


@pytest.fixture(scope="module")
def engine(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), dtype="float32", device="cpu")


def test_query_likelihood_is_the_querys_log_probability_behind_its_passage(engine):
    prompt = load_prompt("prompts/ql.jinja", packaged_recipes(), parts=2)
    together = judge_ql(engine, prompt, [(p, QUERIES) for p in PASSAGES])
    for passage, judged in zip(PASSAGES, together, strict=True):
        for query, (score, tokens) in zip(QUERIES, judged, strict=True):
            request = ScoreRequest(prompt.render(passage=passage), (f" {query}",))
            [[alone]] = engine.score([request])
            assert score == pytest.approx(alone.logprob, abs=1e-3)
            assert tokens == alone.tokens


def test_relevance_is_the_log_odds_of_the_verdicts(engine):
    prompt = load_prompt("prompts/rc.jinja", packaged_recipes(), parts=2)
    [[(score, _)]] = judge_rc(engine, prompt, [(PASSAGES[0], QUERIES[:1])])
    prefix = prompt.render(passage=PASSAGES[0])
    yes, no = (prompt.render(1, query=QUERIES[0], verdict=v) for v in ("yes", "no"))
    assert yes.endswith("Relevant: yes")
    [[a, b]] = engine.score([ScoreRequest(prefix, (yes, no))])
    assert score == pytest.approx(a.logprob - b.logprob, abs=1e-3)


def test_candidates_are_grouped_by_passage():
    rows = [
        {"query_id": q, "passage_id": p}
        for q, p in [("q1", "b"), ("q1", "a"), ("q2", "b"), ("q3", "c")]
    ]
    assert by_passage(rows) == [("a", ["q1"]), ("b", ["q1", "q2"]), ("c", ["q3"])]
