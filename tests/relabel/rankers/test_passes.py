"""Which passes there are, and what an engine must give for each."""

import pytest

from distill.llm.protocol import Completion
from distill.recipe import Recipe
from distill.relabel.rankers.passes import (
    RankerSettings,
    identify_pass,
    list_passes,
    open_ranking,
)


def rankers(**relabel) -> RankerSettings:
    llm = {"engine": "http", "model": "served", "base_url": "http://localhost:1/v1"}
    recipe = Recipe.model_validate({"name": "r", "llm": llm, "relabel": relabel})
    return RankerSettings.select(recipe)


class InWords:
    """An engine that gives no log-probabilities at all."""

    can_score = can_compare_verdicts = supports_regex = has_chat = False

    def generate(self, prompts, seeds, sampling):
        return [Completion(reply, True) for reply in ("10", "2", "0")[: len(prompts)]]


@pytest.mark.parametrize(
    ("ranker", "expected"), [("rc", [5.0, -3.0, -5.0]), ("graded", [3.0, 0.6, 0.0])]
)
def test_graded_in_words_is_on_the_scale_of_what_it_stands_for(ranker, expected):
    ranking = open_ranking(ranker, rankers(rankers=[ranker]), InWords)
    [judged] = ranking.judge([("Bees dance.", ["why", "what"]), ("Ice.", ["is ice cold"])])
    assert [score for of_it in judged for score, _ in of_it] == pytest.approx(expected)
    assert ranking.fingerprint["by"] == "words"


def test_fused_takes_the_place_of_ql_and_rc():
    rule = rankers(rankers=["rc", "ql", "graded"], fused=True).rule
    assert list_passes(rule, rule.judges) == ["fused", "graded"]
    assert list_passes(rule, ["rc"]) == ["rc"]


@pytest.mark.parametrize("name", ["rc", "graded", "listwise"])
def test_longest_verdict_is_part_of_what_judges_in_words(name):
    plain, longer = rankers(), rankers()
    longer.llm.verdict_tokens = 900
    assert identify_pass(name, longer) != identify_pass(name, plain)
    assert "verdict_tokens" not in identify_pass(name, plain)


def test_ranker_differs_by_prompt_and_length():
    known = {str(identify_pass(name, rankers())) for name in ("ql", "rc", "graded", "listwise")}
    assert len(known) == 4
    assert identify_pass("listwise", rankers()) != identify_pass(
        "listwise", rankers(listwise_window=4)
    )
