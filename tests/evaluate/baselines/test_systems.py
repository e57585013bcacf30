"""BM25 and hybrids beside models on a task."""

from pathlib import Path

import pytest
from helpers.tiny_models import TEXTS

from distill.embed.local import LocalEmbedder
from distill.evaluate.baselines.rankings import read_rankings
from distill.evaluate.baselines.searchers import BM25Search
from distill.evaluate.baselines.systems import rank_systems, score_baselines, takes_baselines
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.mteb_encoder import build_model_meta
from distill.evaluate.score import MEASURES, get_rankings_path, score_tasks
from distill.recipe import BM25
from distill.retrieve.fusion import rank_hybrid
from distill.tasks import load_task

pytest.importorskip("mteb")


@pytest.fixture
def task(tmp_path, make_beir):
    make_beir(tmp_path / "tasks" / "mine")
    return load_task("mine", tmp_path / "tasks")


@pytest.fixture
def models(encoder_folder, teacher_folder):
    return {"student": load_eval_model(encoder_folder), "teacher": load_eval_model(teacher_folder)}


def test_each_system_ranks_each_query(task, models, tmp_path):
    found = rank_systems(models, task, tmp_path / "out", BM25(), depth=12)
    assert list(found) == ["student", "teacher", "bm25", "student + bm25", "teacher + bm25"]
    for system, by_query in found.items():
        assert len(by_query) == len(TEXTS), system
        assert all(len(ids) == len(set(ids)) for ids in by_query.values())
    # A document's own first words find it.
    assert all(ids[0] == f"d{query[1:]}" for query, ids in found["bm25"].items())
    metas = build_model_meta(models["student"]), BM25Search(BM25()).mteb_model_meta
    dense, lexical = (
        read_rankings(get_rankings_path(tmp_path / "out", task, meta))["test/default"]
        for meta in metas
    )
    for query, ids in found["student + bm25"].items():
        lists = [*dense[query].items()], [*lexical[query].items()]
        assert ids == [id_ for id_, _ in rank_hybrid(*lists, 12)]


def test_bm25_scores_what_its_ranking_is_worth(task, models, tmp_path):
    score_tasks(models["student"], [task], tmp_path / "out", ranked=True)
    scores = score_baselines({"student": models["student"]}, task, tmp_path / "out", BM25())
    assert list(scores) == ["bm25", "student + bm25"]
    assert scores["bm25"].score == 1.0
    assert scores["bm25"].measures == dict.fromkeys(MEASURES, 1)
    assert len(scores["student + bm25"].by_item) == len(TEXTS)


def test_results_without_rankings_are_ranked_from_their_vectors(
    task, models, tmp_path, monkeypatch
):
    student, out = models["student"], tmp_path / "out"
    before = score_tasks(student, [task], out)

    def refuse(*args):
        raise AssertionError("encoded again")

    monkeypatch.setattr(LocalEmbedder, "embed", refuse)
    assert score_tasks(student, [task], out, ranked=True) == before
    first = score_baselines({"student": student}, task, out, BM25())
    monkeypatch.setattr("distill.evaluate.score._evaluate_task", refuse)
    assert score_baselines({"student": student}, task, out, BM25()) == first


def test_folder_named_from_the_working_directory_is_the_same_one(
    task, models, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    student = {"student": models["student"]}
    found = rank_systems(student, task, Path("out"), BM25(), depth=3)
    assert rank_systems(student, task, tmp_path / "out", BM25(), depth=3) == found


def test_baselines_are_for_retrieval_alone(task, tmp_path):
    assert takes_baselines(task)
    task.skip_first_result = True
    assert not takes_baselines(task)
    (tmp_path / "tasks" / "pairs").mkdir()
    rows = "a b\tc d\t1\na\td\t2\n"
    (tmp_path / "tasks" / "pairs" / "test.tsv").write_text(f"sentence1\tsentence2\tscore\n{rows}")
    assert not takes_baselines(load_task("pairs", tmp_path / "tasks"))
