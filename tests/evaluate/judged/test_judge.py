"""An LLM judges pairs: each once, blind, and nothing that it said is lost."""

import math
from pathlib import Path

import pytest
from helpers.overlap_llm import OverlapLLM
from helpers.tiny_models import TEXTS

from distill.api.objects import Models, put_models
from distill.errors import UserError
from distill.evaluate.judged.judge import (
    JudgedPair,
    judge_pairs,
    open_judge,
)
from distill.llm import Completion
from distill.recipe import Recipe
from distill.store.stage import Stage

PAIRS = [
    JudgedPair(f"q{n}", f"p{m}", " ".join(query.split()[1:5]), passage)
    for n, query in enumerate(TEXTS)
    for m, passage in enumerate(TEXTS)
]


def judge(llm: OverlapLLM, cache: Path, form: str = "graded") -> list[float]:
    recipe = Recipe.model_validate({"name": "x", "evaluate": {"judged": {"judge": form}}})
    recipe = put_models(recipe, Models(llm=llm))
    judge = open_judge(recipe.evaluate.judged, recipe.llm, recipe.folder)
    stage = Stage("judged", cache.parent / "judged", "x")
    return judge_pairs(judge, recipe.seed, PAIRS, lambda: llm, cache, stage)


@pytest.mark.parametrize("form", ["graded", "rc"])
def test_passage_that_answers_is_judged_more_relevant(tmp_path, form):
    scores = judge(OverlapLLM(), tmp_path / "judged.sqlite", form)
    own = [score for score, pair in zip(scores, PAIRS, strict=True) if pair.query in pair.passage]
    assert len(own) >= len(TEXTS)
    assert min(own) > 0.8
    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) / len(scores) < 0.5


def test_judged_pairs_are_not_judged_again(tmp_path):
    first, second = OverlapLLM(), OverlapLLM()
    before = judge(first, tmp_path / "judged.sqlite")
    assert first.scored == len(PAIRS)
    assert judge(second, tmp_path / "judged.sqlite") == before
    assert second.scored == 0


def test_resumed_judging_ends_as_undisturbed(tmp_path):
    class Fails(OverlapLLM):
        def score(self, requests):
            if self.scored > 80:
                raise ConnectionError
            return super().score(requests)

    whole = judge(OverlapLLM(), tmp_path / "whole.sqlite")
    stopped = Fails()
    with pytest.raises(ConnectionError):
        judge(stopped, tmp_path / "stopped.sqlite")
    going_on = OverlapLLM()
    assert judge(going_on, tmp_path / "stopped.sqlite") == whole
    assert stopped.scored + going_on.scored == len(PAIRS)


def test_engine_without_log_probabilities_grades_in_words(tmp_path):
    class Words(OverlapLLM):
        can_compare_verdicts = can_score = False

        def generate(self, prompts, seeds, sampling):
            return [Completion("7" if "Bees" in p else "1/10", True) for p in prompts]

    scores = judge(Words(), tmp_path / "judged.sqlite")
    assert set(scores) == {0.7, 0.1}


def test_pairs_of_a_query_are_not_judged_one_after_the_other(tmp_path):
    seen = []

    class Watches(OverlapLLM):
        def score(self, requests):
            seen.extend(one.continuations[0] for one in requests)
            return super().score(requests)

    judge(Watches(), tmp_path / "judged.sqlite")
    assert len(seen) == len(PAIRS)
    assert len(set(seen[: len(TEXTS)])) > 4


class Moderated(OverlapLLM):
    """Grades in words, but for what a server's moderation refuses, and can be stopped."""

    can_compare_verdicts = can_score = False

    def __init__(self, refuses: str, calls: int = 99) -> None:
        super().__init__()
        self.refuses, self.calls, self.graded = refuses, calls, 0

    def generate(self, prompts, seeds, sampling):
        if not self.calls:
            raise ConnectionError
        self.calls -= 1
        self.graded += len(prompts)
        refused = Completion("", False, "the server refuses it")
        return [refused if self.refuses in p else Completion("7", True) for p in prompts]


def test_resumed_judging_with_many_unusable_replies_ends_as_undisturbed(tmp_path):
    """A resumed pool, and one that is made again, ask for nothing but what was refused."""
    whole = judge(Moderated("Bees"), tmp_path / "whole.sqlite")
    assert sum(map(math.isnan, whole)) >= 4
    with pytest.raises(ConnectionError):
        judge(Moderated("Bees", calls=1), tmp_path / "stopped.sqlite")
    for cache in ("stopped.sqlite", "stopped.sqlite", "whole.sqlite"):
        assert judge(Moderated("Bees"), tmp_path / cache) == pytest.approx(whole, nan_ok=True)


def test_judge_without_any_usable_reply_is_refused_early_with_the_key_that_helps(tmp_path):
    llm = Moderated("")
    with pytest.raises(UserError, match="no usable score for any of 64 pairs") as caught:
        judge(llm, tmp_path / "judged.sqlite")
    assert "llm.verdict_tokens" in caught.value.remedy
    assert llm.graded == 64 < len(PAIRS)


def test_pair_without_a_usable_score_has_none(tmp_path):
    class Broken(OverlapLLM):
        def _judge(self, prefix, text, endings):
            found = super()._judge(prefix, text, endings)
            bad = "Bees" in prefix.rsplit("Passage: ", 1)[-1]
            return found._replace(endings=(math.nan,) * len(endings)) if bad else found

    scores = judge(Broken(), tmp_path / "judged.sqlite")
    assert sum(map(math.isnan, scores)) == len(TEXTS)
