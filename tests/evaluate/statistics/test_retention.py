"""The interval of the share of its teacher's score that a student keeps."""

import numpy as np
import pytest

from distill.evaluate.statistics.retention import estimate_retention

stats = pytest.importorskip("scipy.stats")


def values(pairs, role_of_teacher="teacher"):
    return {
        f"test/default/{n}": {"student": student, role_of_teacher: teacher}
        for n, (student, teacher) in enumerate(pairs)
    }


def test_share_is_that_of_the_means():
    found = estimate_retention({"a": values([(0.5, 1.0), (0.7, 0.8), (0.3, 0.2)] * 10)}, ["a"])
    assert found["share"] == pytest.approx(1.5 / 2.0)
    assert found["low"] < found["share"] < found["high"]
    assert found["items"] == 30


def test_tasks_and_their_languages_count_the_same():
    items = {
        "a": {
            **{f"test/en/{n}": {"student": 0.2, "teacher": 0.4} for n in range(3)},
            **{f"test/de/{n}": {"student": 0.4, "teacher": 0.4} for n in range(30)},
        },
        "b": values([(0.9, 1.0)] * 5),
    }
    # Task a: student 0.3, teacher 0.4; task b: 0.9 and 1.0.
    assert estimate_retention(items, items)["share"] == pytest.approx(1.2 / 1.4)


def test_student_that_is_its_teacher_keeps_all_for_certain():
    rng = np.random.default_rng(0)
    found = estimate_retention({"a": values([(x, x) for x in rng.random(40)])}, ["a"])
    assert [found["share"], found["low"], found["high"]] == pytest.approx([1.0, 1.0, 1.0])


def test_interval_holds_the_true_share_in_most_samples():
    held, repetitions, rng = 0, 60, np.random.default_rng(1)
    for _ in range(repetitions):
        teacher = rng.random(60)
        student = np.clip(0.8 * teacher + rng.normal(0, 0.1, 60), 0, None)
        found = estimate_retention({"a": values(zip(student, teacher, strict=True))}, ["a"])
        held += found["low"] <= 0.8 + 0.006 and found["high"] >= 0.8
    assert held >= 0.85 * repetitions


def test_interval_of_few_items_is_stretched_by_a_t_quantile():
    """The teacher's score is the same for all items, so that the share is a mean of the student's.
    From 50 items on nothing is stretched: the same values five times over have draws whose spread
    is that of 12 over the root of five."""
    student = np.random.default_rng(0).random(12)
    few = estimate_retention({"a": values([(x, 1.0) for x in student])}, ["a"])
    many = estimate_retention({"a": values([(x, 1.0) for x in [*student] * 5])}, ["a"])
    stretched = np.sqrt(12 / 11) * stats.t.ppf(0.975, 11) / stats.norm.ppf(0.975)
    widths = [of["high"] - of["low"] for of in (few, many)]
    assert widths[0] / (widths[1] * np.sqrt(5)) == pytest.approx(stretched, rel=0.05)


def test_interval_of_few_items_holds_the_true_share_nearly_as_often_as_it_says():
    """Without being stretched it held it in 263 of 300 samples."""
    held, rng = 0, np.random.default_rng(4)
    for _ in range(300):
        teacher = rng.uniform(0.2, 1, 12)
        student = 0.8 * teacher + rng.normal(0, 0.2, 12)
        found = estimate_retention({"a": values(zip(student, teacher, strict=True))}, ["a"])
        held += found["low"] <= 0.8 <= found["high"]
    assert held > 0.92 * 300


@pytest.mark.parametrize(
    "items",
    [
        {},
        {"a": {}},
        {"a": values([(0.5, 1.0)])},
        {"a": values([(0.0, 0.0)] * 5)},
        {"a": values([(0.5, 1.0)] * 5, role_of_teacher="base")},
    ],
    ids=["no task", "no items", "one item", "teacher at 0", "no teacher"],
)
def test_retention_without_items_or_teacher_has_no_interval(items):
    assert estimate_retention(items, ["a"]) is None


def test_task_without_single_values_leaves_the_share_without_an_interval():
    assert estimate_retention({"a": values([(0.5, 1.0)] * 5)}, ["a", "pairs"]) is None
