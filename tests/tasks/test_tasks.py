"""Task names, and the folders that stand in for the hub."""

import pytest
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.tasks import load_task, load_tasks

mteb = pytest.importorskip("mteb")


def test_official_task_from_a_folder_keeps_its_class_split_and_metric(task_data):
    task = load_task("SciFact", task_data)
    assert type(task) is type(mteb.get_task("SciFact"))
    assert (list(task.eval_splits), task.metadata.main_score) == (["test"], "ndcg_at_10")
    data = task.dataset["default"]["test"]
    assert data["corpus"]["text"] == TEXTS
    assert data["queries"]["id"] == [f"q{i}" for i in range(len(TEXTS))]
    assert data["relevant_docs"]["q3"] == {"d3": 1}


def test_hub_is_read_at_the_official_revision_without_a_folder(tmp_path):
    task = load_task("SciFact", tmp_path)
    assert not task.data_loaded
    assert task.metadata.revision == mteb.get_task("SciFact").metadata.revision


def test_folder_is_evaluated_on_the_split_that_it_judges(task_data):
    task = load_task("mine", task_data)
    assert task.metadata.name == "mine"
    assert list(task.eval_splits) == ["dev"]
    (task_data / "mine" / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\n", encoding="utf-8"
    )
    task = load_task("mine", task_data)
    assert list(task.eval_splits) == ["test"]
    assert task.dataset["default"]["test"]["queries"]["id"] == ["q1"]


def test_tasks_from_folders_do_not_share_their_metadata(task_data):
    (task_data / "mine").rename(task_data / "yours")
    (task_data / "SciFact").rename(task_data / "mine")
    first, second = load_task("mine", task_data), load_task("yours", task_data)
    assert (first.metadata.name, second.metadata.name) == ("mine", "yours")


def test_revision_follows_the_files(task_data):
    before = load_task("SciFact", task_data).metadata.revision
    assert load_task("SciFact", task_data).metadata.revision == before
    corpus = task_data / "SciFact" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("heart", "liver"), encoding="utf-8")
    assert load_task("SciFact", task_data).metadata.revision != before
    assert mteb.get_task("SciFact").metadata.revision != before


@pytest.mark.bad_input("evaluation", "judgements of another split", "refused")
def test_judgments_of_another_split_do_not_stand_in(task_data):
    qrels = task_data / "SciFact" / "qrels"
    (qrels / "test.tsv").rename(qrels / "train.tsv")
    with pytest.raises(UserError, match=r"has no qrels/test\.tsv, which SciFact reads"):
        load_task("SciFact", task_data)


@pytest.mark.bad_input("evaluation", "a task of one's own without judgements", "refused")
def test_folder_without_judgments_is_refused(task_data):
    (task_data / "mine" / "qrels" / "dev.tsv").unlink()
    with pytest.raises(UserError, match=r"none of qrels/test\.tsv, qrels/validation\.tsv, "):
        load_task("mine", task_data)


@pytest.mark.bad_input("evaluation", "a task that is not known", "refused, the nearest named")
def test_unknown_name_says_what_there_is_and_what_is_near(task_data):
    with pytest.raises(UserError) as fault:
        load_task("SciFat", task_data)
    assert "SciFact, mine" in str(fault.value)
    assert "did you mean SciFact" in str(fault.value)
    with pytest.raises(UserError, match="no folder of tasks was given"):
        load_task("SciFat")
    with pytest.raises(UserError, match="does not exist"):
        load_task("SciFat", task_data / "nowhere")


@pytest.mark.bad_input("evaluation", "a task with images", "refused")
def test_task_over_more_than_text_is_refused():
    with pytest.raises(UserError, match=r"is a task over .*image"):
        load_task("CIFAR10Clustering")


def test_average_names_its_parts_and_is_loaded_as_them(make_beir, tmp_path):
    with pytest.raises(UserError, match="CQADupstackTexRetrieval"):
        load_task("CQADupstackRetrieval")
    make_beir(tmp_path / "CQADupstackTexRetrieval")
    parts = load_tasks(["CQADupstackRetrieval", "CQADupstackTexRetrieval"], [], tmp_path)
    names = [task.metadata.name for task in parts]
    assert len(names) == len(set(names)) == 12
    assert [task.metadata.name for task in parts if task.data_loaded] == ["CQADupstackTexRetrieval"]


def test_benchmark_brings_its_tasks_in_its_languages_each_once(task_data, every_kind):
    (every_kind / "sts").rename(task_data / "STS22.v2")
    tasks = load_tasks(["SciFact", "STS12"], ["MTEB(eng, v2)"], task_data)
    names = [task.metadata.name for task in tasks]
    official = mteb.get_benchmark("MTEB(eng, v2)")
    assert names[:2] == ["SciFact", "STS12"]
    assert sorted(names) == sorted({"SciFact", *(t.metadata.name for t in official.tasks)})
    by_name = {task.metadata.name: task for task in tasks}
    assert list(by_name["STS17"].hf_subsets) == ["en-en"]
    # Of a task in many languages the benchmark reads one, which a folder can hold.
    assert by_name["STS22.v2"].dataset["en"]["test"]["sentence1"] == TEXTS
    assert not any(task.data_loaded for task in official.tasks)


@pytest.mark.bad_input("evaluation", "a benchmark that is not known", "refused, the nearest named")
def test_unknown_benchmark_says_what_is_near():
    with pytest.raises(UserError, match=r"did you mean MTEB\(eng, v"):
        load_tasks([], ["MTEB(eng, v3)"])
