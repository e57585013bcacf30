"""Grades of an LLM's scores."""

import pytest

from distill.errors import UserError
from distill.evaluate.judged.grades import grade_pairs, grade_relevance

NO_SEEDS = [False] * 4


def test_grades_are_whole_numbers_of_the_judge():
    assert [grade_relevance(of, "graded") for of in (0, 0.2, 0.5, 1)] == [0, 1, 2, 3]
    assert [grade_relevance(of, "rc") for of in (0, 0.4, 0.5, 1)] == [0, 0, 1, 1]


def test_pairs_are_graded_by_the_scores_themselves_where_these_differ():
    found = grade_pairs([0.0, 0.4, 0.7, 1.0], NO_SEEDS, "graded", "judge")
    assert found.grades == [0, 1, 2, 3]
    assert found.relevant == [False, False, True, True]
    assert not found.is_relative


def test_seed_passages_say_what_is_relevant_where_all_have_one_grade():
    found = grade_pairs([0.05, 0.1, 0.2, 0.3], [False, False, True, True], "rc", "judge")
    assert found.grades == [0, 0, 0, 1]
    assert found.relevant == [False, False, False, True]
    assert found.is_relative


@pytest.mark.bad_input("judge", "all pairs with one grade, no seed found", "refused")
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "no pair has a usable score"),
        ([0.2] * 4, "all 4 pairs have the score 0.2000"),
        ([0.1, 0.2, 0.3, 0.4], "all 4 pairs have the grade 0"),
    ],
)
def test_llm_that_tells_nothing_apart_is_refused(scores, message):
    with pytest.raises(UserError, match=message):
        grade_pairs(scores, NO_SEEDS[: len(scores)], "rc", "judge")
