"""The queries on which the student loses most: searched once, with the models and the data of the
evaluation."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from helpers.report_runs import make_summary
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.evaluate.summary import write_summary
from distill.files.atomic import write_json
from distill.report.run_data import read_run_data
from distill.report.sections import losses as module
from distill.report.sections.losses import find_lost_queries, list_best, list_worst
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.tasks import load_task


def write_task(folder):
    """Every text's first words ask for it; its document has a title."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{i}", "title": f"Title {i}", "text": t} for i, t in enumerate(TEXTS)]
    asked = [{"_id": f"q/{i}", "text": " ".join(t.split()[:4])} for i, t in enumerate(TEXTS)]
    for name, lines in (("corpus", rows), ("queries", asked)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    judged = "".join(f"q/{i}\td{i}\t1\n" for i in range(len(TEXTS)))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a student, a teacher elsewhere, and a task in a folder."""
    folder = tmp_path_factory.mktemp("losses")
    write_task(folder / "tasks" / "mine")
    teacher = make_tiny_encoder(folder / "teacher", seed=2)
    run_folder = folder / "run"
    with Run(run_folder) as run:
        student = run.open_stage("student", {})
        shutil.copytree(
            make_tiny_encoder(folder / "one", seed=1), student.folder, dirs_exist_ok=True
        )
        student.finish()
        evaluation = run.open_stage("evaluation", {}, [student])
        evaluation.finish()
    told = make_summary()
    revision = load_task("mine", folder / "tasks").metadata.revision
    told["tasks"]["mine"]["revision"] = revision
    write_summary(run_folder / "evaluation" / "summary.json", told)
    items = {
        "mine": {
            f"test/default/q/{i}": {"student": i / 20, "teacher": 0.5, "base": 0.9}
            for i in range(len(TEXTS))
        }
    }
    write_json(evaluation.folder / "items.json", items)
    recipe = {
        "name": "bees",
        "teacher": {"model": str(teacher), "device": "cpu"},
        "train": {"device": "cpu"},
        "evaluate": {"tasks": ["mine"], "task_data": str(folder / "tasks")},
    }
    (run_folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return run_folder


@pytest.fixture
def run_folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def test_worst_are_those_that_the_teacher_does_better_on():
    items = {
        "a": {
            "test/default/1": {"student": 0.2, "teacher": 0.9},
            "test/default/2": {"student": 0.9, "teacher": 0.2},
            "test/default/3": {"student": 0.1, "teacher": 0.3},
        },
        "b": {"test/default/1": {"student": 0.0, "teacher": 1.0}},
    }
    found = [(one.task, one.item) for one in list_worst(items, 3)]
    assert found == [("b", "test/default/1"), ("a", "test/default/1"), ("a", "test/default/3")]
    assert len(list_worst(items, 1)) == 1
    assert [(one.task, one.item) for one in list_best(items, 3)] == [("a", "test/default/2")]


def test_gains_stand_beside_losses_and_are_kept_with_them(run_folder):
    told = find_lost_queries(read_run_data(run_folder))
    # The student's score rises with the number; above 0.5 it is ahead.
    assert all(query["student"] > query["teacher"] for query in told.gains)
    assert set(told.gains[0]["rankings"]) == {"student", "teacher"}


def test_rankings_of_before_gains_were_shown_are_searched_again(run_folder):
    first = find_lost_queries(read_run_data(run_folder))
    path = run_folder / "report" / "losses.json"
    kept = json.loads(path.read_text())
    write_json(path, {"evaluation": kept["evaluation"], "queries": kept["queries"]})
    assert find_lost_queries(read_run_data(run_folder)) == first


def test_rankings_are_those_of_the_models(run_folder):
    told = find_lost_queries(read_run_data(run_folder))
    assert told.why == ""
    assert [query["item"] for query in told.queries] == [f"test/default/q/{i}" for i in range(10)]
    for role, folder in (
        ("student", run_folder / "student"),
        ("teacher", yaml.safe_load((run_folder / "recipe.yaml").read_text())["teacher"]["model"]),
    ):
        encoder = SentenceTransformer(str(folder), device="cpu")
        documents = encoder.encode([f"Title {i} {t}" for i, t in enumerate(TEXTS)])
        for query in told.queries:
            similarity = documents @ encoder.encode(query["text"])
            order = [f"d{i}" for i in np.argsort(-similarity)]
            ranking = query["rankings"][role]
            assert [d["id"] for d in ranking["top"]] == order[:5]
            asked_for = "d" + query["item"].rpartition("/")[2]
            assert ranking["first_relevant"] == order.index(asked_for) + 1
            shown = {d["id"]: d["relevance"] for d in ranking["top"]}
            assert all(of == (id_ == asked_for) for id_, of in shown.items())
            assert ranking["top"][0]["title"] == f"Title {order[0][1:]}"


def test_second_report_needs_neither_models_nor_data(run_folder, monkeypatch):
    first = find_lost_queries(read_run_data(run_folder))
    monkeypatch.delattr(module, "load_run_models")
    monkeypatch.delattr(module, "load_task")
    assert find_lost_queries(read_run_data(run_folder)) == first


def test_teacher_is_instructed_as_in_the_evaluation(run_folder):
    plain = find_lost_queries(read_run_data(run_folder)).queries
    recipe = run_folder / "recipe.yaml"
    told = yaml.safe_load(recipe.read_text())
    template = "moon moon {instruction} chess: {query}"
    told["teacher"]["instruction_template"] = template
    recipe.write_text(yaml.safe_dump(told), encoding="utf-8")
    (run_folder / "report" / "losses.json").unlink()
    instructed = find_lost_queries(read_run_data(run_folder)).queries
    for one, other in zip(plain, instructed, strict=True):
        assert one["rankings"]["student"] == other["rankings"]["student"]
        assert one["rankings"]["teacher"] != other["rankings"]["teacher"]


def test_losses_of_another_evaluation_are_searched_anew(run_folder):
    find_lost_queries(read_run_data(run_folder))
    kept = run_folder / "report" / "losses.json"
    write_json(kept, {"evaluation": "another", "queries": []})
    assert len(find_lost_queries(read_run_data(run_folder)).queries) == 10


@pytest.mark.parametrize("content", ['{"evaluation": "', "[]", '{"evaluation": "x"}', "\x00"])
def test_damaged_rankings_are_searched_again(run_folder, content):
    first = find_lost_queries(read_run_data(run_folder))
    (run_folder / "report" / "losses.json").write_text(content, encoding="utf-8")
    assert find_lost_queries(read_run_data(run_folder)) == first


def test_run_that_may_not_be_written_shows_what_it_keeps_and_nothing_else(run_folder):
    assert (
        "cannot be written now" in find_lost_queries(read_run_data(run_folder), may_write=False).why
    )
    assert not (run_folder / "report").exists()
    first = find_lost_queries(read_run_data(run_folder))
    assert find_lost_queries(read_run_data(run_folder), may_write=False) == first


def test_data_that_is_not_here_leaves_the_section_out(run_folder):
    recipe = run_folder / "recipe.yaml"
    recipe.write_text(re.sub("task_data: .*", "task_data: null", recipe.read_text()))
    told = find_lost_queries(read_run_data(run_folder))
    assert told.queries == []
    assert told.why == "The rankings are not available: the data of mine is not in a folder here."


def test_data_that_has_changed_leaves_the_section_out(run_folder):
    told = make_summary()
    write_summary(run_folder / "evaluation" / "summary.json", told)
    assert "has changed since the evaluation" in find_lost_queries(read_run_data(run_folder)).why


def test_teacher_that_is_gone_leaves_the_section_out(run_folder):
    recipe = run_folder / "recipe.yaml"
    recipe.write_text(re.sub("model: .*", "model: ./nowhere", recipe.read_text()))
    assert "'./nowhere' no such file or folder" in find_lost_queries(read_run_data(run_folder)).why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda run: (run / "evaluation" / "items.json").unlink(), "no values of single queries"),
        (lambda run: shutil.rmtree(run / "evaluation"), "not evaluated yet"),
        (lambda run: _without_teacher(run), "without a teacher"),
        (lambda run: _train_again(run), "made anew since"),
    ],
)
def test_lost_queries_that_cannot_be_found_say_why(run_folder, change, why):
    change(run_folder)
    told = find_lost_queries(read_run_data(run_folder))
    assert told.queries == []
    assert why in told.why


def _without_teacher(run_folder):
    told = make_summary()
    del told["models"]["teacher"]
    write_summary(run_folder / "evaluation" / "summary.json", told)


def _train_again(run_folder):
    manifest = open_stage(run_folder / "student").manifest
    path = run_folder / "student" / ".stage" / "manifest.json"
    write_json(path, manifest | {"fingerprint": "another"})
