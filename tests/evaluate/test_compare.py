"""The verdict on base models, student and teacher."""

import copy
import json

import pytest
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.evaluate.compare import compare, make_student_variants
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.published import PublishedScores
from distill.evaluate.models.variants import ASYMMETRIC
from distill.tasks import load_task

pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def eval_models(encoder_folder, teacher_folder, prompted_folder):
    return {
        "teacher": load_eval_model(teacher_folder),
        "base-2": load_eval_model(encoder_folder, max_tokens=8),
        "student": load_eval_model(prompted_folder),
        "base": load_eval_model(encoder_folder),
    }


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, make_beir):
    folder = tmp_path_factory.mktemp("tasks")
    make_beir(folder / "SciFact")
    make_beir(folder / "mine", "dev", TEXTS[:8])
    rows = zip(TEXTS, TEXTS[1:], [5, 3, 1, 0, 2, 4, 1, 3, 5, 2, 0], strict=False)
    lines = "".join(f"{a}\t{b}\t{score}\n" for a, b, score in rows)
    (folder / "pairs").mkdir()
    (folder / "pairs" / "test.tsv").write_text(f"sentence1\tsentence2\tscore\n{lines}")
    return [load_task(name, folder) for name in ("SciFact", "mine", "pairs")]


@pytest.fixture(scope="module")
def judged(tmp_path_factory, make_beir):
    folder = tmp_path_factory.mktemp("judged")
    make_beir(folder / "judged", "test", TEXTS[:8])
    return load_task("judged", folder)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Results are shared, as between two comparisons of one person's."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def summary(eval_models, tasks, out):
    variants = make_student_variants(eval_models, widths=[16], precisions=["int8", "binary"])
    return compare(eval_models, tasks[:2], out, variants, speed_texts=4, rounds=1)


def test_summary_holds_each_model_and_the_share_kept(eval_models, summary):
    models = summary["models"]
    student, teacher = models["student"], models["teacher"]
    for role, eval_model in eval_models.items():
        figures = models[role]
        assert figures["parameters"] == eval_model.parameters
        assert figures["dimensions"] == eval_model.dimensions
        assert figures["texts_per_second"] > 0
        assert figures["latency_ms"] > 0
        assert figures["index_bytes_per_million"] == 4e6 * eval_model.dimensions
        assert figures["score"] == pytest.approx(sum(figures["tasks"].values()) / 2, abs=1e-6)
    assert summary["kept"] == pytest.approx(student["score"] / teacher["score"], abs=1e-4)
    assert {of["dataset"] for of in summary["tasks"].values()} == {None}
    sure = summary["retention"]
    assert sure["share"] == pytest.approx(summary["kept"], abs=1e-4)
    assert sure["low"] <= sure["share"] <= sure["high"]
    for role in ("teacher", "base", "base-2"):
        gap = summary["differences"][f"student - {role}"]
        assert gap["overall"]["difference"] == pytest.approx(
            student["score"] - models[role]["score"], abs=1e-5
        )
        assert gap["overall"]["items"] == 20
        assert gap["tasks"]["mine"]["items"] == 8
    assert summary["tasks"]["mine"] == {
        "category": "Retrieval",
        "metric": "ndcg_at_10",
        "revision": summary["tasks"]["mine"]["revision"],
        "items": 8,
        "dataset": None,
    }
    assert json.loads(json.dumps(summary)) == summary


def test_models_stand_in_the_order_of_the_table(summary):
    assert list(summary["models"]) == [
        "base",
        "base-2",
        "student",
        "student@16",
        "student int8",
        "student binary",
        "teacher",
    ]


def test_variant_has_the_students_speed_and_an_index_of_its_own(summary):
    models = summary["models"]
    student = models["student"]
    for name, index in (("student@16", 64), ("student int8", 32), ("student binary", 4)):
        variant = models[name]
        assert variant["variant_of"] == "student"
        for key in ("texts_per_second", "latency_ms", "parameters", "bytes"):
            assert variant[key] == student[key]
        assert variant["index_bytes_per_million"] == index * 1e6
        gap = summary["differences"][f"{name} - student"]["overall"]
        assert gap["difference"] == pytest.approx(variant["score"] - student["score"], abs=1e-5)
    assert student["variant_of"] is None


def test_values_of_items_are_those_of_the_scores(summary, out):
    items = json.loads((out / "items.json").read_text())
    assert items.keys() == {"SciFact", "mine"}
    for task, of_task in items.items():
        for role, model in summary["models"].items():
            mean = sum(values[role] for values in of_task.values()) / len(of_task)
            assert mean == pytest.approx(model["tasks"][task], abs=1e-5)


def test_categories_are_averaged_as_mteb_does(eval_models, tasks, tmp_path, summary, out):
    two = {role: eval_models[role] for role in ("student", "teacher")}
    found = compare(two, tasks, out, speed_texts=4, rounds=1)
    student = found["models"]["student"]
    scores = student["tasks"]
    retrieval = (scores["SciFact"] + scores["mine"]) / 2
    assert student["by_category"] == pytest.approx(
        {"Retrieval": retrieval, "STS": scores["pairs"]}, abs=1e-5
    )
    assert student["score"] == pytest.approx(sum(scores.values()) / 3, abs=1e-5)
    assert scores["mine"] == summary["models"]["student"]["tasks"]["mine"]
    of_pairs = found["differences"]["student - teacher"]["tasks"]["pairs"]
    assert (found["tasks"]["pairs"]["items"], of_pairs["items"], of_pairs["wins"]) == (11, 11, None)
    assert of_pairs["low"] < of_pairs["difference"] < of_pairs["high"]
    assert found["differences"]["student - teacher"]["overall"]["low"] is not None


def test_task_that_an_llm_judged_stands_beside_the_verdict(eval_models, tasks, judged, out):
    two = {role: eval_models[role] for role in ("base", "student")}
    mine, both, alone = (
        compare(two, of, out, speed_texts=0) for of in ([tasks[1]], [tasks[1], judged], [judged])
    )
    assert both["unaveraged"] == ["judged"]
    assert both["models"]["student"]["tasks"].keys() == {"mine", "judged"}
    for role in two:
        assert both["models"][role]["score"] == mine["models"][role]["score"]
    assert both["verdict"] == mine["verdict"]
    gap = both["differences"]["student - base"]
    assert gap["overall"] == mine["differences"]["student - base"]["overall"]
    assert gap["tasks"]["judged"]["items"] == 8
    assert alone["unaveraged"] == []
    student = alone["models"]["student"]
    assert student["score"] == pytest.approx(student["tasks"]["judged"], abs=1e-6)


def test_student_without_teacher_keeps_nothing(eval_models, tasks, out):
    two = {role: eval_models[role] for role in ("base", "student")}
    summary = compare(two, tasks[:2], out, speed_texts=4, rounds=1)
    assert "teacher" not in summary["models"]
    assert summary["kept"] is None


@pytest.mark.bad_input("evaluation", "asymmetric with a teacher of another width", "refused")
def test_asymmetric_mode_needs_a_teacher_of_equal_width(eval_models):
    alone = {"student": eval_models["student"]}
    with pytest.raises(UserError, match="no teacher"):
        make_student_variants(alone, with_teacher=True)
    with pytest.raises(UserError, match="dimensions"):
        make_student_variants(eval_models, with_teacher=True)
    like = alone | {"teacher": eval_models["base"]}
    assert list(make_student_variants(like, with_teacher=True)) == [ASYMMETRIC]


def test_teachers_speed_counts_over_the_teachers_documents(eval_models, tasks, out):
    two = {"student": eval_models["student"], "teacher": eval_models["base"]}
    variants = make_student_variants(two, with_teacher=True)
    models = compare(two, tasks[:1], out, variants, speed_texts=4, rounds=1)["models"]
    both = models[ASYMMETRIC]
    assert both["texts_per_second"] == models["teacher"]["texts_per_second"]
    assert both["latency_ms"] == models["student"]["latency_ms"]


def test_published_results_do_not_stand_in_for_a_role(eval_models, tasks, out):
    two = {role: eval_models[role] for role in ("student", "teacher")}
    theirs = {"teacher": PublishedScores("teacher", None, None, None, None, "2", [])}
    with pytest.raises(UserError, match="this comparison's own teacher") as refused:
        compare(two, tasks[:1], out, published=theirs)
    assert "OWNER__MODEL" in refused.value.remedy


def test_data_of_a_task_of_the_hub_do_not_stay_in_memory(eval_models, tasks, out, monkeypatch):
    (task,) = [copy.copy(tasks[0])]
    task.data_loaded = False
    monkeypatch.setattr(task, "load_data", lambda: setattr(task, "data_loaded", True), False)
    compare({"student": eval_models["student"]}, [task], out, speed_texts=2, rounds=1)
    assert not task.data_loaded


@pytest.mark.bad_input("evaluation", "nothing to compare", "refused")
def test_compare_without_a_second_model_is_refused(eval_models, tasks, out):
    with pytest.raises(UserError, match="no task"):
        compare(eval_models, [], out)
    with pytest.raises(UserError, match="no student"):
        compare({"base": eval_models["base"]}, tasks, out)


@pytest.mark.bad_input("evaluation", "a margin that is no number between 0 and 1", "refused")
@pytest.mark.parametrize("margin", [float("nan"), 0.0, -0.01, 1.0])
def test_margin_outside_its_range_is_refused(eval_models, tasks, tmp_path, margin):
    with pytest.raises(UserError, match="the margin is"):
        compare(eval_models, tasks, tmp_path / "out", margin=margin, speed_texts=0)
    assert not (tmp_path / "out" / "items.json").exists()
