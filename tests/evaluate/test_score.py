"""One model on tasks: scores, prompts, results on disk, resume."""

import dataclasses
import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import MINILM
from helpers.small_collections import write_part
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

from distill.evaluate.models.eval_model import load_eval_model, make_mteb_name
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.score import load_data, score_tasks
from distill.models.reference import identify_revision, resolve
from distill.tasks import iterate_query_texts, load_task
from distill.tasks.beir_folder import write_beir_folder

mteb = pytest.importorskip("mteb")
mock_tasks = pytest.importorskip("mteb.mocks.mock_tasks")

OTHERS = [
    "MockBitextMiningTask",
    "MockInstructionReranking",
    "MockMultilabelClassification",
    "MockMultilingualSTSTask",
    "MockRegressionTask",
    "MockSummarizationTask",
]
"""Small tasks of mteb's own tests."""


@pytest.fixture
def tasks(task_data):
    return [load_task("SciFact", task_data), load_task("mine", task_data)]


@pytest.fixture
def no_encoding(monkeypatch):
    """From here on, encoding anything fails."""

    def switch_off():
        def refuse(*args, **kwargs):
            raise AssertionError("encoded")

        monkeypatch.setattr(SentenceTransformer, "encode", refuse)

    return switch_off


@pytest.mark.parametrize("side", ["query", "document"])
def test_prompts_of_the_model_are_applied(prompted_folder, side):
    import datasets
    from mteb.types import PromptType
    from torch.utils.data import DataLoader

    eval_model = load_eval_model(prompted_folder)
    ours = wrap_for_mteb(eval_model).encode(
        DataLoader(datasets.Dataset.from_dict({"text": TEXTS}), batch_size=4),
        task_metadata=mteb.get_task("SciFact").metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=PromptType(side),
        show_progress_bar=False,
    )
    model = SentenceTransformer(str(prompted_folder))
    encode = model.encode_query if side == "query" else model.encode_document
    assert np.array_equal(ours, encode(TEXTS))
    assert not np.allclose(ours, model.encode(TEXTS), atol=1e-2)


def test_scores_are_those_of_the_models_own_vectors(prompted_folder, tasks, tmp_path):
    model = SentenceTransformer(str(prompted_folder))
    queries = [" ".join(text.split()[:4]) for text in TEXTS]
    similar = model.encode_query(queries) @ model.encode_document(TEXTS).T
    ranks = [int((row > row[i]).sum()) + 1 for i, row in enumerate(similar)]
    # One relevant document: nDCG@10 is 1 / log2(rank + 1).
    gains = [1 / math.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks]

    (score, _) = score_tasks(load_eval_model(prompted_folder), tasks, tmp_path)

    assert score.by_item == pytest.approx(
        {f"test/default/q{i}": gain for i, gain in enumerate(gains)}
    )
    assert score.score == pytest.approx(np.mean(gains), abs=1e-5)
    assert 0.3 < score.score < 1, "the collection tells models apart"


def test_results_load_back_with_name_and_revision(prompted_folder, tasks, tmp_path):
    scores = score_tasks(load_eval_model(prompted_folder), tasks, tmp_path)
    (loaded,) = mteb.ResultCache(tmp_path).load_results().model_results
    name = f"distill/{prompted_folder.parent.name}-student"
    assert (loaded.model_name, loaded.model_revision) == (
        name,
        identify_revision(str(prompted_folder)),
    )
    assert loaded.model_meta.n_parameters == load_eval_model(prompted_folder).parameters
    assert {r.task_name: r.get_score() for r in loaded.task_results} == {
        s.task: s.score for s in scores
    }
    by_task = {result.task_name: result for result in loaded.task_results}
    assert by_task["mine"].dataset_revision == tasks[1].metadata.revision


def test_queries_that_ask_for_the_same_document_are_known(prompted_folder, tmp_path):
    """Of stored scores too, and of those that an earlier version has stored."""
    documents = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(TEXTS)]
    queries = [{"_id": f"q{n}", "text": TEXTS[n // 2][:20]} for n in range(8)]
    grades = {(f"q{n}", f"d{n // 2}"): 1 for n in range(7)} | {("q7", "d9"): 1}
    write_beir_folder(tmp_path / "data" / "mine", documents, queries, grades)
    model, out = load_eval_model(prompted_folder), tmp_path / "out"
    known = {f"test/default/q{n}": f"test/default/q{n - n % 2}" for n in range(6)}
    for _ in range(2):
        (score,) = score_tasks(model, [load_task("mine", tmp_path / "data")], out)
        assert score.groups == known
    (file,) = (out / "queries").rglob("mine.json")
    stored = json.loads(file.read_text())
    assert stored.pop("groups") == known
    file.write_text(json.dumps(stored))
    assert score_tasks(model, [load_task("mine", tmp_path / "data")], out) == [score]


def test_damaged_scores_of_single_queries_are_made_again(prompted_folder, tasks, tmp_path, caplog):
    scores = score_tasks(load_eval_model(prompted_folder), tasks, tmp_path)
    damaged, *_ = (tmp_path / "queries").rglob("*.json")
    damaged.write_text(damaged.read_text()[:40])
    assert score_tasks(load_eval_model(prompted_folder), tasks, tmp_path) == scores
    assert f"{damaged} is damaged" in caplog.text


@pytest.mark.parametrize(
    "kind", ["retrieval", "reranking", "sts", "classification", "clustering", "pairs"]
)
def test_every_category_scores_as_mteb_alone_does(kind, every_kind, encoder_folder, tmp_path):
    (score,) = score_tasks(load_eval_model(encoder_folder), [load_task(kind, every_kind)], tmp_path)
    model = SentenceTransformer(str(encoder_folder))
    task = load_task(kind, every_kind)
    alone = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    assert score.category == task.metadata.type
    assert score.score == pytest.approx(alone.task_results[0].get_score(), abs=1e-5)
    assert score.score < 1, "the task tells models apart"


@pytest.mark.parametrize("name", OTHERS)
def test_categories_without_a_layout_of_ours_are_scored_too(name, encoder_folder, tmp_path):
    task = getattr(mock_tasks, name)()
    (score,) = score_tasks(load_eval_model(encoder_folder), [task], tmp_path)
    assert (score.task, score.category) == (name, task.metadata.type)
    assert -1 <= score.score <= 1
    assert list(iterate_query_texts(task))
    assert score_tasks(load_eval_model(encoder_folder), [task], tmp_path) == [score]


def test_second_model_on_a_task_draws_the_same_texts(every_kind, encoder_folder, tmp_path):
    task = load_task("clustering", every_kind)
    first = score_tasks(load_eval_model(encoder_folder), [task], tmp_path / "first")
    assert score_tasks(load_eval_model(encoder_folder), [task], tmp_path / "second") == first


def test_mtebs_tables_show_the_results(every_kind, encoder_folder, tmp_path):
    tasks = [load_task(kind, every_kind) for kind in ("sts", "pairs", "classification")]
    scores = {
        s.task: s.score for s in score_tasks(load_eval_model(encoder_folder), tasks, tmp_path)
    }
    results = mteb.ResultCache(tmp_path).load_results()
    name = make_mteb_name(str(encoder_folder))
    shown = results.to_dataframe().set_index("task_name")[name]
    assert shown.to_dict() == pytest.approx(scores)


def test_mtebs_leaderboard_ranks_a_model_that_it_knows(every_kind, encoder_folder, tmp_path):
    (every_kind / "sts").rename(every_kind / "STSBenchmark")
    (every_kind / "classification").rename(every_kind / "Banking77Classification")
    names = ["STSBenchmark", "Banking77Classification"]
    tasks = [load_task(name, every_kind) for name in names]
    meta = mteb.get_model_meta("sentence-transformers/all-MiniLM-L6-v2")
    eval_model = load_eval_model(encoder_folder)
    eval_model = dataclasses.replace(eval_model, name=meta.name, revision=meta.revision)
    scores = [score.score for score in score_tasks(eval_model, tasks, tmp_path)]

    benchmark = mteb.Benchmark(name="two", tasks=mteb.get_tasks(tasks=names))
    board = mteb.ResultCache(tmp_path).load_results(tasks=benchmark).get_benchmark_result()

    (row,) = board.to_dict("records")
    assert "all-MiniLM-L6-v2" in row["Model"]
    assert [row["STS"], row["Classification"]] == pytest.approx(scores)
    assert row["Mean (Task)"] == pytest.approx(np.mean(scores))


def test_result_differs_by_the_languages_of_a_task(every_kind, encoder_folder, tmp_path):
    task = mock_tasks.MockMultilingualSTSTask()
    whole = score_tasks(load_eval_model(encoder_folder), [task], tmp_path)
    one = mock_tasks.MockMultilingualSTSTask()
    one.hf_subsets = one.hf_subsets[:1]
    score_tasks(load_eval_model(encoder_folder), [one], tmp_path)
    (mark,) = (json.loads(p.read_text()) for p in tmp_path.glob("queries/**/*.json"))
    assert mark["subsets"] == one.hf_subsets != task.hf_subsets
    assert score_tasks(load_eval_model(encoder_folder), [task], tmp_path) == whole


def test_stored_scores_are_not_computed_again(prompted_folder, tasks, tmp_path, no_encoding):
    first = score_tasks(load_eval_model(prompted_folder), tasks, tmp_path)
    no_encoding()
    assert score_tasks(load_eval_model(prompted_folder), tasks, tmp_path) == first


def test_result_on_other_data_is_computed_again(prompted_folder, task_data, tmp_path, no_encoding):
    score_tasks(load_eval_model(prompted_folder), [load_task("mine", task_data)], tmp_path)
    corpus = task_data / "mine" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("heart", "liver"), encoding="utf-8")
    no_encoding()
    with pytest.raises(AssertionError, match="encoded"):
        score_tasks(load_eval_model(prompted_folder), [load_task("mine", task_data)], tmp_path)


def test_result_cut_off_in_writing_is_computed_again(prompted_folder, tasks, tmp_path):
    first = score_tasks(load_eval_model(prompted_folder), tasks, tmp_path)
    for path in tmp_path.glob("queries/**/SciFact.json"):
        path.unlink()
    for path in tmp_path.glob("results/**/SciFact.json"):
        path.write_text(path.read_text()[:100])
    assert score_tasks(load_eval_model(prompted_folder), tasks, tmp_path) == first


def test_result_differs_by_the_most_tokens(prompted_folder, tasks, tmp_path):
    whole = score_tasks(load_eval_model(prompted_folder), tasks, tmp_path)
    assert score_tasks(load_eval_model(prompted_folder, max_tokens=64), tasks, tmp_path) == whole
    shortened = score_tasks(load_eval_model(prompted_folder, max_tokens=12), tasks, tmp_path)
    assert shortened != whole
    assert score_tasks(load_eval_model(prompted_folder), tasks, tmp_path) == whole
    assert list(tmp_path.glob("results/*/*/experiments/max_tokens_12/SciFact.json"))


def test_log_gets_one_line_a_task(prompted_folder, tasks, tmp_path, capfd, caplog):
    eval_model = load_eval_model(prompted_folder)
    capfd.readouterr()
    with caplog.at_level(logging.INFO, "distill.evaluate"):
        score_tasks(eval_model, tasks, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert len(caplog.messages) == 2
    assert "student on SciFact: ndcg_at_10 0." in caplog.messages[0]


@pytest.mark.bad_input(
    "hub", "a task whose data the hub cannot give", "refused, the way without it told"
)
def test_hub_out_of_reach_names_the_way_without(monkeypatch):
    from distill.errors import UserError

    def unreachable(self, **kwargs):
        raise ConnectionError("no route")

    task = load_task("SciFact")
    monkeypatch.setattr(type(task), "load_data", unreachable)
    with pytest.raises(UserError, match="--task-data a folder that holds SciFact/"):
        load_data(task)


def test_names_have_mtebs_form(tmp_path):
    folder = tmp_path / "demo" / "student"
    folder.mkdir(parents=True)
    assert make_mteb_name(str(folder)) == "distill/demo-student"
    assert make_mteb_name("intfloat/e5-small-v2@abc") == "intfloat/e5-small-v2"
    assert make_mteb_name("wheel:pack==1.0/inside/model#sha256=00") == "wheel/pack-inside-model"


PUBLISHED = {"STSBenchmark": (0.8203, 0), "Banking77Classification": (0.8004, 3080)}
"""Scores of all-MiniLM-L6-v2 on MTEB's leaderboard, and the items that a score is a mean of."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PUBLISHED)
def test_minilm_is_as_published(name, data_folder, tmp_path):
    task = load_task(name, Path(data_folder) / "mteb")
    (score,) = score_tasks(load_eval_model(MINILM), [task], tmp_path)
    published, items = PUBLISHED[name]
    assert score.score == pytest.approx(published, abs=0.001)
    assert len(score.by_item) == items


def compute_ndcg(folder: Path, model: SentenceTransformer) -> float:
    """nDCG@10 of a BEIR folder, by sentence-transformers and numpy alone."""
    documents, queries = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("corpus", "queries")
    )
    judged = [row.split("\t") for row in (folder / "qrels" / "test.tsv").read_text().splitlines()]
    vectors = model.encode([f"{d['title']} {d['text']}".strip() for d in documents])
    scores = []
    for query, vector in zip(queries, model.encode([q["text"] for q in queries]), strict=True):
        relevant = {document for id_, document, _ in judged if id_ == query["_id"]}
        best = np.argsort(-(vectors @ vector))[:10]
        gains = [documents[row]["_id"] in relevant for row in best]
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(relevant))))
        scores.append(sum(g / math.log2(rank + 2) for rank, g in enumerate(gains)) / ideal)
    return float(np.mean(scores))


@pytest.mark.slow
def test_minilm_scores_a_part_of_scifact_as_sentence_transformers_does(data_folder, tmp_path):
    source = Path(data_folder) / "mteb" / "SciFact"
    folder = write_part(source, tmp_path / "data" / "SciFact", 25, 100)
    (score,) = score_tasks(
        load_eval_model(MINILM), [load_task("SciFact", tmp_path / "data")], tmp_path / "results"
    )
    assert len(score.by_item) == 25
    expected = compute_ndcg(folder, SentenceTransformer(str(resolve(MINILM)), device="cpu"))
    assert score.score == pytest.approx(expected, abs=1e-4)
    assert 0.6 < score.score < 1
