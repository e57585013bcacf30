"""The verdict on base models, student and teacher."""

import json

import pytest
from rich.console import Console
from tiny import TEXTS

from distill.errors import UserError
from distill.evaluate.compare import compare, render, sentence
from distill.evaluate.contender import open_contender
from distill.evaluate.tasks import load_task

pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def contenders(encoder_folder, teacher_folder, prompted_folder):
    return {
        "teacher": open_contender(teacher_folder),
        "base-2": open_contender(encoder_folder, max_tokens=8),
        "student": open_contender(prompted_folder),
        "base": open_contender(encoder_folder),
    }


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, make_beir):
    folder = tmp_path_factory.mktemp("tasks")
    make_beir(folder / "SciFact")
    make_beir(folder / "mine", "dev", TEXTS[:8])
    return [load_task("SciFact", folder), load_task("mine", folder)]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Results are shared, as between two comparisons of one person's."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def summary(contenders, tasks, out):
    return compare(contenders, tasks, out, speed_texts=4, rounds=1)


def screen(summary):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(render(summary))
    return capture.get()


def test_summary_holds_each_model_and_the_share_kept(contenders, summary):
    student, teacher = summary["student"], summary["teacher"]
    for role, contender in contenders.items():
        figures = summary[role]
        assert figures["parameters"] == contender.parameters
        assert figures["dimensions"] == contender.dimensions
        assert figures["texts_per_second"] > 0
        assert figures["ndcg_at_10"] == pytest.approx(sum(figures["tasks"].values()) / 2)
    assert set(student["tasks"]) == {"SciFact", "mine"}
    assert summary["kept"] == pytest.approx(student["ndcg_at_10"] / teacher["ndcg_at_10"], abs=1e-4)
    for role in ("teacher", "base", "base-2"):
        gap = summary[f"student_minus_{role}"]
        assert gap["difference"] == pytest.approx(
            student["ndcg_at_10"] - summary[role]["ndcg_at_10"], abs=1e-4
        )
        assert gap["queries"] == 20
    assert json.loads(json.dumps(summary)) == summary


def test_table_has_a_row_a_model_in_order(summary):
    text = screen(summary)
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert [row.strip("│").split("│")[0].strip() for row in rows] == [
        "base model",
        "base model-2",
        "student",
        "teacher",
    ]
    assert "100.0%" in rows[-1]
    for column in ("nDCG@10", "share of the teacher kept", "parameters", "dimensions", "texts/s"):
        assert column in text


def test_a_student_without_teacher_keeps_nothing(contenders, tasks, out):
    two = {role: contenders[role] for role in ("base", "student")}
    summary = compare(two, tasks, out, speed_texts=4, rounds=1)
    assert summary["teacher"] is None
    assert summary["kept"] is None
    assert "teacher" not in [
        line.split()[1] for line in screen(summary).splitlines() if "│" in line
    ]
    assert "teacher" not in sentence(summary)


def test_a_student_no_better_than_its_base_is_said_first(contenders, tasks, out):
    same = {"student": contenders["base"], "base": contenders["base"]}
    summary = compare(same, tasks, out, speed_texts=4, rounds=1)
    assert sentence(summary).startswith("The student is NO better than the base model")


def test_nothing_to_compare_is_refused(contenders, tasks, out):
    with pytest.raises(UserError, match="no task"):
        compare(contenders, [], out)
    with pytest.raises(UserError, match="no student"):
        compare({"base": contenders["base"]}, tasks, out)
