"""Better, level, worse, and what to ship."""

import pytest

from distill.evaluate.verdict import (
    build_verdict,
    compute_detectable,
    draw_verdict,
    get_verdict,
    judge_difference,
)


def gap(low, high, items=100):
    empty = dict.fromkeys(("p", "p_holm", "wins", "ties", "losses"))
    known = low is not None
    return {
        "difference": (low + high) / 2 if known else 0.02,
        "low": low,
        "high": high,
        "items": items,
        **empty,
    }


BETTER, LEVEL, WORSE, UNCLEAR = (0.02, 0.06), (-0.005, 0.008), (-0.06, -0.02), (-0.02, 0.03)


def summary(student=100, base=100, **differences):
    """A summary by its differences: `student__base=BETTER`, with `_h` for a hybrid."""
    names = {"bm25": "bm25"} | {r: r for r in ("student", "base", "teacher", "base-2")}
    names |= {f"{role}_h": f"{role} + bm25" for role in ("student", "base", "teacher")}
    kept, models = {}, {"student": None}
    for pair, interval in differences.items():
        one, other = (names[role.replace("base2", "base-2")] for role in pair.split("__"))
        named = [f"({role})" if "+" in role else role for role in (one, other)]
        kept[" - ".join(named)] = {"overall": gap(*interval), "tasks": {}}
        models |= {one: None, other: None}
    sizes = {"student": student, "base": base}
    models = {
        role: {"variant_of": None, "bytes": sizes.get(role), "tasks": {"mine": 0.5}}
        for role in models
    }
    return {"models": models, "differences": kept, "tasks": {"mine": {}}}


@pytest.mark.parametrize(
    ("interval", "kind", "not_worse"),
    [
        (BETTER, "better", True),
        (LEVEL, "level", True),
        ((0.001, 0.009), "level", True),
        (WORSE, "worse", False),
        (UNCLEAR, "unclear", False),
        ((-0.005, 0.05), "unclear", True),
        ((None, None), "unclear", None),
    ],
)
def test_kind_of_an_interval(interval, kind, not_worse):
    found = judge_difference(gap(*interval), 0.01)
    assert (found["kind"], found["not_worse"]) == (kind, not_worse)
    assert judge_difference(gap(-0.05, 0.04), 0.06)["kind"] == "level"


def test_smallest_difference_that_is_shown_follows_the_width():
    # 2.80 standard errors, of which an interval is 3.92 wide.
    assert compute_detectable(0.0392) == pytest.approx(0.0280, abs=1e-4)
    assert judge_difference(gap(-0.02, 0.03))["detectable"] == pytest.approx(0.0357, abs=1e-4)


def test_verdict_is_beside_the_base_it_looks_worst_with():
    both = build_verdict(
        summary(student__base=BETTER, student__base2=WORSE, student__teacher=LEVEL)
    )
    assert (both["kind"], both["against"]) == ("worse", "base-2")
    teacher = build_verdict(summary(student__teacher=UNCLEAR, student__bm25=BETTER))
    assert (teacher["kind"], teacher["against"]) == ("unclear", "teacher")
    assert build_verdict(summary())["against"] is None


@pytest.mark.parametrize(
    ("differences", "advice", "system"),
    [
        ({"student__base": BETTER}, "student", "student"),
        ({"student__base": WORSE}, "base", "base"),
        ({"student__base": LEVEL}, "base", "base"),
        ({"student__base": LEVEL, "student": 50}, "student", "student"),
        ({"student__base": UNCLEAR}, "student", "student"),
        ({"student__base": (-0.03, 0.02)}, "base", "base"),
        ({"student__base": BETTER, "student__bm25": WORSE}, "bm25", "bm25"),
        ({"student__teacher": WORSE}, "student", "student"),
        ({"student__bm25": UNCLEAR, "student__student_h": WORSE}, "hybrid", "student + bm25"),
        (
            {"student__student_h": WORSE, "student_h__bm25": WORSE, "student__bm25": WORSE},
            "bm25",
            "bm25",
        ),
        (
            {"base__base_h": WORSE, "student_h__base_h": WORSE, "base_h__bm25": BETTER},
            "hybrid",
            "base + bm25",
        ),
        # A weak base gains by BM25; the student, which does not, is shipped alone.
        (
            {"student__base": BETTER, "student__student_h": BETTER, "base__base_h": WORSE},
            "student",
            "student",
        ),
        # BM25 spoils a student that alone is better than the better of both hybrids.
        (
            {
                "student__base": BETTER,
                "student_h__base_h": WORSE,
                "base__base_h": WORSE,
                "student__base_h": BETTER,
                "student__student_h": BETTER,
            },
            "student",
            "student",
        ),
        ({"student__base": WORSE, "base__bm25": WORSE}, "bm25", "bm25"),
        ({"student__student_h": UNCLEAR, "student__base": BETTER}, "student", "student"),
    ],
)
def test_advice(differences, advice, system):
    found = build_verdict(summary(**differences))
    assert (found["advice"], found["system"]) == (advice, system)


@pytest.mark.parametrize(
    ("differences", "advice", "system"),
    [
        ({"student__base": LEVEL}, "teacher", "teacher"),
        ({"student__base": WORSE}, "teacher", "teacher"),
        ({"student__base": BETTER, "student__teacher": WORSE}, "student", "student"),
        (
            {"base__base_h": WORSE, "student_h__base_h": WORSE, "base_h__bm25": BETTER},
            "hybrid",
            "teacher + bm25",
        ),
        ({"student__base": WORSE, "base__bm25": WORSE}, "bm25", "bm25"),
    ],
)
def test_teacher_is_advised_in_the_place_of_a_query_encoders_base(differences, advice, system):
    found = build_verdict(summary(**differences), queries_alone=True)
    assert (found["advice"], found["system"]) == (advice, system)


def test_best_of_several_bases_is_advised():
    worse_than_one = summary(student__base=(-0.06, -0.04), student__base2=(-0.03, -0.01))
    assert build_verdict(worse_than_one)["system"] == "base"
    level_with_the_other = summary(student__base=WORSE, student__base2=LEVEL)
    assert build_verdict(level_with_the_other)["system"] == "base"


@pytest.mark.parametrize(
    ("differences", "system"),
    [
        ({"student__base": BETTER, "student__bm25": WORSE}, "student"),
        (
            {"student__student_h": WORSE, "student_h__bm25": WORSE, "student__bm25": WORSE},
            "student + bm25",
        ),
    ],
)
def test_bm25_is_not_advised_for_tasks_that_it_cannot_do(differences, system):
    mixed = summary(**differences) | {"tasks": {"mine": {}, "pairs": {}}}
    assert build_verdict(mixed)["system"] == system


WORSE_THAN_BM25 = {
    "student__base": BETTER,
    "student__bm25": WORSE,
    "student__student_h": WORSE,
    "student_h__bm25": WORSE,
    "student__teacher": LEVEL,
}


def with_baselines(found):
    for role, model in found["models"].items():
        model["baseline"] = "bm25" in role
    return found


def test_documents_searched_for_by_sentences_decide_between_models_alone():
    found = with_baselines(summary(**WORSE_THAN_BM25))
    by_titles = draw_verdict(found, {"known-item": "titles"}, None)
    assert (by_titles["advice"], by_titles["decides_bm25"]) == ("bm25", True)
    assert by_titles["rests_on"] == {"known-item": "titles"}
    by_sentences = draw_verdict(found, {"known-item": "sentences"}, None)
    assert (by_sentences["advice"], by_sentences["system"]) == ("student", "student")
    assert (by_sentences["kind"], by_sentences["against"]) == ("better", "base")
    assert by_sentences["comparisons"].keys() == {"base", "teacher"}
    assert by_sentences["decides_bm25"] is False
    in_part = draw_verdict(found, {"known-item": "sentences", "SciFact": "labels"}, None)
    assert in_part["advice"] == "student"


def test_query_encoders_verdict_by_sentences_names_the_teacher_in_the_place_of_the_base():
    found = with_baselines(summary(student__base=WORSE, student__bm25=WORSE))
    drawn = draw_verdict(found, {"known-item": "sentences"}, None, queries_alone=True)
    assert (drawn["advice"], drawn["system"]) == ("teacher", "teacher")


def test_summary_of_before_has_its_verdict_drawn_when_it_is_read():
    older = summary(student__base=BETTER)
    assert get_verdict(older) == build_verdict(older)
    assert get_verdict(older | {"verdict": {"kind": "worse"}}) == {"kind": "worse"}
