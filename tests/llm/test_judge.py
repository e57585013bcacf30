"""Judging by a tiny real model: passage-major equals one prompt a pair."""

import math

import pytest

from distill.errors import UserError
from distill.llm import ScoreRequest
from distill.llm.judge import (
    GRADES,
    compute_expected_grade,
    judge_fused,
    judge_graded,
    judge_in_words,
    judge_ql,
    judge_rc,
)
from distill.llm.prompts import CONTINUATION, load_prompt
from distill.llm.protocol import Completion, Score
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import LanguageModel
from distill.recipe.packaged import get_packaged_folder

PASSAGES = ["Bees dance to tell other bees where the flowers are.", "Tides follow the moon."]
QUERIES = ["why do bees dance", "what moves the sea"]
REQUESTS = [(passage, QUERIES) for passage in PASSAGES]


@pytest.fixture(scope="module")
def engine(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), dtype="float32", device="cpu")


def prompt_of(name):
    return load_prompt(f"prompts/{name}.jinja", get_packaged_folder(), parts=2)


def test_query_likelihood_ql_is_the_querys_log_probability_behind_its_passage(engine):
    prompt = prompt_of("ql")
    together = judge_ql(engine, prompt, REQUESTS)
    for passage, judged in zip(PASSAGES, together, strict=True):
        for query, (score, tokens) in zip(QUERIES, judged, strict=True):
            request = ScoreRequest(prompt.render(passage=passage), (f" {query}",))
            [[alone]] = engine.score([request])
            assert score == pytest.approx(alone.logprob, abs=1e-3)
            assert tokens == alone.tokens


def likelihoods(engine, prompt, passage, query, verdicts):
    """Of query and verdict as one continuation, each on its own."""
    texts = [prompt.render(1, query=query, verdict=verdict) for verdict in verdicts]
    prefix = prompt.render(passage=passage)
    return [engine.score([ScoreRequest(prefix, (text,))])[0][0].logprob for text in texts]


def test_relevance_classification_rc_is_the_log_odds_of_the_verdicts(engine):
    prompt = prompt_of("rc")
    for passage, judged in zip(PASSAGES, judge_rc(engine, prompt, REQUESTS), strict=True):
        for query, (score, _) in zip(QUERIES, judged, strict=True):
            yes, no = likelihoods(engine, prompt, passage, query, ("yes", "no"))
            assert score == pytest.approx(yes - no, abs=1e-3)


def test_graded_relevance_is_the_mean_by_the_verdicts_likelihoods(engine):
    prompt = prompt_of("graded")
    [[(grade, _), _], _] = judge_graded(engine, prompt, REQUESTS)
    weights = [math.exp(x) for x in likelihoods(engine, prompt, PASSAGES[0], QUERIES[0], GRADES)]
    expected = sum(n * weight for n, weight in enumerate(weights)) / sum(weights)
    assert grade == pytest.approx(expected, abs=1e-3)


def test_graded_relevance_reaches_from_none_to_high():
    assert compute_expected_grade(Score(0, 1, (0.0, -800.0, -800.0, -800.0))) == 0
    assert compute_expected_grade(Score(0, 1, (-800.0, -800.0, -800.0, 0.0))) == 3
    assert compute_expected_grade(Score(0, 1, (-9.0, -9.0, -9.0, -9.0))) == pytest.approx(1.5)


def test_fused_pass_gives_what_two_give(engine):
    prompt = prompt_of("rc")
    fused = judge_fused(engine, prompt, REQUESTS)
    for ours, alone in zip(fused.rc, judge_rc(engine, prompt, REQUESTS), strict=True):
        assert [score for score, _ in ours] == pytest.approx([s for s, _ in alone], abs=1e-3)
    for passage, judged in zip(PASSAGES, fused.ql, strict=True):
        for query, (score, _) in zip(QUERIES, judged, strict=True):
            request = ScoreRequest(prompt.render(passage=passage), (f" {query}\nRelevant:",))
            assert score == pytest.approx(engine.score([request])[0][0].logprob, abs=1e-3)


@pytest.mark.bad_input("prompt", "a verdict that is not the prompt's end", "refused")
@pytest.mark.parametrize("ending", [" {{ query }} or not", " {{ verdict }}: {{ query }}"])
def test_prompt_whose_verdict_is_not_its_end_is_refused(engine, tmp_path, ending):
    (tmp_path / "mine.jinja").write_text(f"{{{{ passage }}}}\n{CONTINUATION}{ending}\n")
    prompt = load_prompt("mine.jinja", tmp_path, parts=2)
    with pytest.raises(UserError, match=r"mine\.jinja.*does not end in the verdict"):
        judge_rc(engine, prompt, REQUESTS)


class Grader:
    """Replies as chat models do: with a number, a sentence, or beside the point."""

    def __init__(self, replies):
        self.replies = replies
        self.prompts = []

    def generate(self, prompts, seeds, sampling):
        self.prompts += prompts
        self.sampling = sampling
        return [
            reply if isinstance(reply, Completion) else Completion(reply, True)
            for reply in self.replies
        ]


def test_graded_in_words_gives_each_pair_the_grade_of_its_own_reply():
    prompt = load_prompt("prompts/grade.jinja", get_packaged_folder(), parts=1)
    llm = Grader(["7", "Grade: 3/10", "I cannot say."])
    requests = [("Bees dance.", ["why bees dance", "what bees eat"]), ("Ice.", ["is ice cold"])]
    found = judge_in_words(llm, prompt, requests, True, LanguageModel())
    assert found == [[(7.0, 0), (3.0, 0)], [(0.0, 0)]]
    assert [p.count("Bees dance.") for p in llm.prompts] == [1, 1, 0]
    assert "what bees eat" in llm.prompts[1]


CUT = Completion("Okay, there is 1 passage and", False)
NO_VERDICTS = [CUT, Completion("", False, "the server refuses it"), Completion(" \n", True)]
NO_VERDICTS += [Completion("<think>It says 7", True)]


def grade(replies, **settings):
    prompt = load_prompt("prompts/grade.jinja", get_packaged_folder(), parts=1)
    llm = Grader(replies)
    requests = [("Bees dance.", ["why"] * len(replies))]
    [grades] = judge_in_words(llm, prompt, requests, True, LanguageModel(**settings))
    return [score for score, _ in grades], llm.sampling.max_new_tokens


def test_reply_that_failed_or_was_cut_off_or_is_empty_is_no_grade():
    grades, _ = grade([*NO_VERDICTS, "7"])
    assert [math.isnan(score) for score in grades] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ("8. The passage explains", 8),
        ("7.5: it names the", 7.5),
        ("**6**\n\nThe passage has 3", 6),
        ("9/10 - it answers", 9),
        ("10 out of 10. It", 10),
        ("**Grade: 0**\n\nNothing in", 0),
        ("1/10. It is about", 1),
    ],
)
def test_grade_whose_explanation_was_cut_off_counts(beginning, expected):
    assert grade([Completion(beginning, False)])[0] == [expected]


def test_grade_before_an_explanation_with_numbers_counts():
    said = ["8. It names 3 parts", "**6**\n\n2 of the 4 facts are there", "There are 2 of 3 facts"]
    assert grade(said)[0] == [8, 6, 0]


@pytest.mark.parametrize(
    "beginning",
    [
        "1. Analyze the query: it asks",
        "1.  **Passage:** bees",
        "8",
        "2 of the 3 facts are",
        "2024. That year the",
        "-8. It is",
        "The passage says 8. It",
        "<think>8. So",
    ],
)
def test_thoughts_that_were_cut_off_hold_no_grade(beginning):
    assert math.isnan(grade([Completion(beginning, False)])[0][0])


def test_longest_verdict_is_a_setting():
    assert [grade(["7"], **of)[1] for of in ({}, {"verdict_tokens": 900})] == [64, 900]
