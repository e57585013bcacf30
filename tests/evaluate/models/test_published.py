"""Results of others, in mteb's format, beside our own."""

import json

import pytest

from distill.errors import UserError
from distill.evaluate.compare import compare
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.published import read_published
from distill.evaluate.score import score_tasks
from distill.report.score_tables import render
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, make_beir):
    folder = tmp_path_factory.mktemp("tasks")
    make_beir(folder / "SciFact")
    make_beir(folder / "mine", "dev")
    return [load_task("SciFact", folder), load_task("mine", folder)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory, tasks, teacher_folder):
    """A folder of mteb's results, and what they say."""
    out = tmp_path_factory.mktemp("theirs")
    return out, score_tasks(load_eval_model(teacher_folder), tasks, out)


@pytest.fixture
def copy(measured, tmp_path):
    """A file OWNER__MODEL/REVISION/SciFact.json, changed as asked."""

    def work(owner="some__model", revision="r1", **changes):
        (path,) = (measured[0] / "results").rglob("SciFact.json")
        result = json.loads(path.read_text()) | changes
        target = tmp_path / "published" / owner / revision / "SciFact.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result))
        return target

    return work


def test_folder_of_results_is_read_back(measured, tasks, teacher_folder):
    out, scores = measured
    eval_model = load_eval_model(teacher_folder)
    (found,) = read_published([out / "results"], tasks).values()
    assert found.model == eval_model.name
    assert found.revision == eval_model.revision
    assert (found.parameters, found.dimensions) == (eval_model.parameters, eval_model.dimensions)
    assert found.mteb == mteb.__version__
    assert {s.task: s.score for s in found.scores} == {s.task: s.score for s in scores}
    assert all(not score.by_item for score in found.scores)


def test_file_is_named_by_its_folders(copy, tasks):
    (name,) = read_published([copy()], tasks)
    assert name == "some/model"


def test_published_model_is_a_column_without_speed_or_interval(
    copy, measured, tasks, tmp_path, prompted_folder, teacher_folder
):
    eval_models = {
        "student": load_eval_model(prompted_folder),
        "teacher": load_eval_model(teacher_folder),
    }
    published = read_published([measured[0], copy()], tasks)
    summary = compare(
        eval_models, tasks, tmp_path / "out", None, published, speed_texts=2, rounds=1
    )
    whole, part = [of for of in summary["models"].values() if of["published"]]
    assert whole["tasks"] == pytest.approx(summary["models"]["teacher"]["tasks"])
    assert (whole["texts_per_second"], whole["bytes"]) == (None, None)
    gap = summary["differences"][f"student - {whole['model']}"]
    ours = summary["differences"]["student - teacher"]["overall"]["difference"]
    assert gap["overall"]["difference"] == pytest.approx(ours)
    assert gap["overall"]["low"] is None
    # The other has been measured on one task alone: there is no mean to compare.
    assert part["score"] is None
    assert part["by_category"] == {}
    assert summary["differences"]["student - some/model"]["overall"]["difference"] is None
    assert render(summary)


@pytest.mark.bad_input(
    "published results", "results on another revision of the data", "refused, both named"
)
def test_published_results_of_other_data_are_refused(copy, tasks):
    with pytest.raises(UserError, match="at revision d56462d; compared is local-"):
        read_published([copy(dataset_revision="d56462d")], tasks, accept_versions=True)


@pytest.mark.bad_input("published results", "results of another mteb", "refused unless accepted")
def test_published_results_of_another_mteb_are_refused_unless_accepted(copy, tasks):
    file = copy(mteb_version="1.12.48")
    with pytest.raises(UserError, match=r"measured by mteb 1\.12\.48") as caught:
        read_published([file], tasks)
    assert "--accept-versions" in caught.value.remedy
    (found,) = read_published([file], tasks, accept_versions=True).values()
    assert found.mteb == "1.12.48"


@pytest.mark.bad_input("published results", "another metric or split", "refused")
def test_published_results_of_another_metric_or_split_are_refused(copy, tasks):
    scores = {"test": [{"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.5}]}
    with pytest.raises(UserError, match="has no ndcg_at_10"):
        read_published([copy(scores=scores)], tasks)
    scores["train"] = [scores.pop("test")[0] | {"ndcg_at_10": 0.5}]
    with pytest.raises(UserError, match="every split"):
        read_published([copy(scores=scores)], tasks)


def test_two_revisions_of_a_model_are_two_columns(copy, tasks, tmp_path):
    copy(revision="r1")
    copy(revision="r2")
    assert list(read_published([tmp_path / "published"], tasks)) == ["some/model", "some/model@r2"]
    with pytest.raises(UserError, match="is there twice"):
        read_published([tmp_path / "published"] * 2, tasks)


@pytest.mark.bad_input("published results", "broken JSON, another task, an empty folder", "refused")
def test_published_results_that_are_broken_or_of_another_task_are_refused(copy, tasks, tmp_path):
    file = copy()
    file.write_text('{"task_name": "SciFact"')
    with pytest.raises(UserError, match="no result in mteb's format"):
        read_published([file], tasks)
    with pytest.raises(UserError, match="which is not compared"):
        read_published([copy(task_name="NFCorpus")], tasks)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no result on SciFact or mine"):
        read_published([tmp_path / "empty"], tasks)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param(
            changes, says, id=name, marks=pytest.mark.bad_input("published results", name, says)
        )
        for name, changes, says in [
            ("scores that are a list", {"scores": []}, "no result in mteb's format|has no ndcg"),
            ("a split that is a number", {"scores": {"test": 5}}, "no result in mteb's format"),
            ("a split of numbers", {"scores": {"test": [5]}}, "no result in mteb's format"),
            ("scores that are null", {"scores": None}, "no result in mteb's format"),
            ("a task that is a number", {"task_name": 5}, "no result|which is not compared"),
        ]
    ],
)
def test_results_of_another_shape_are_refused(copy, tasks, changes, says):
    with pytest.raises(UserError, match=says) as fault:
        read_published([copy(**changes)], tasks)
    assert fault.value.where.endswith("SciFact.json")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(
            data, says, id=name, marks=pytest.mark.bad_input("published results", name, says)
        )
        for name, data, says in [
            ("a list", b"[]", "a list, not a mapping"),
            ("null", b"null", "is empty, not a mapping"),
            ("1,000 brackets", b"[" * 1000, "deeper than 100 levels"),
            ("an integer of 5,000 digits", b'{"a": ' + b"9" * 5000 + b"}", "thousands of digits"),
            ("Latin-1", b'{"a": "\xe9"}', "is not UTF-8"),
        ]
    ],
)
def test_files_that_are_no_results_are_refused(copy, tasks, data, says):
    file = copy()
    file.write_bytes(data)
    with pytest.raises(UserError, match=says) as fault:
        read_published([file], tasks)
    assert str(file) in fault.value.where


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param(
            meta,
            marks=pytest.mark.bad_input("published results", f"model_meta.json: {meta}", "refused"),
        )
        for meta in ("[]", "{}", '{"name": 5}', "{", "null")
    ],
)
def test_description_of_the_model_that_is_none(copy, tasks, meta):
    file = copy()
    (file.parent / "model_meta.json").write_text(meta)
    with pytest.raises(UserError, match=r"model_meta\.json"):
        read_published([file], tasks)
