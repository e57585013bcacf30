"""Scores of single items: in the task's own metric, and only where they make up its score."""

import numpy as np
import pytest
from helpers.tiny_models import make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.samples.items import keep_if_mean_matches, read_set_v_measures
from distill.evaluate.score import score_tasks
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_encoder(tmp_path_factory.mktemp("run") / "student")


@pytest.fixture
def with_metric(every_kind):
    """A user's own task, asked for another of its metrics."""

    def make(kind, metric):
        task = load_task(kind, every_kind)
        task.metadata = task.metadata.model_copy(update={"main_score": metric})
        return task

    return make


@pytest.mark.parametrize(
    "metric",
    ["ndcg_at_10", "ndcg_at_3", "map_at_1000", "recall_at_1", "precision_at_5", "mrr_at_10"],
)
@pytest.mark.parametrize("kind", ["retrieval", "reranking"])
def test_queries_have_the_tasks_own_metric(kind, metric, with_metric, folder, tmp_path):
    (score,) = score_tasks(load_eval_model(folder), [with_metric(kind, metric)], tmp_path)
    assert (score.metric, len(score.by_item)) == (metric, 12)
    assert np.mean(list(score.by_item.values())) == pytest.approx(score.score, abs=1e-5)


def test_query_that_is_asked_in_several_ways_counts_once(every_kind, folder, tmp_path):
    plain = load_task("reranking", every_kind).dataset["default"]["test"]
    task = mteb.get_task("MindSmallReranking")
    of = {
        query: f"q{number // 3}_{number % 3}" for number, query in enumerate(plain["queries"]["id"])
    }
    firsts = {
        name: next(q for q in of if of[q] == name.rpartition("_")[0] + "_0") for name in of.values()
    }
    lists = {name: plain["top_ranked"][first] for name, first in firsts.items()}
    judged = {name: plain["relevant_docs"][first] for name, first in firsts.items()}
    asked = plain["queries"].map(lambda row: {"id": of[row["id"]]})
    data = {**plain, "queries": asked, "top_ranked": lists, "relevant_docs": judged}
    task.dataset, task.data_loaded = {"default": {"test": data}}, True
    (score,) = score_tasks(load_eval_model(folder), [task], tmp_path)
    assert [*score.by_item] == [f"test/default/q{number}" for number in range(4)]
    assert np.mean(list(score.by_item.values())) == pytest.approx(score.score, abs=1e-5)


def test_query_reranked_has_the_rank_of_its_text(every_kind, folder, tmp_path):
    task = load_task("reranking", every_kind)
    (score,) = score_tasks(load_eval_model(folder), [task], tmp_path)
    model, data = SentenceTransformer(str(folder)), task.dataset["default"]["test"]
    texts = dict(zip(data["corpus"]["id"], data["corpus"]["text"], strict=True))
    for query in data["queries"]:
        documents = model.encode([texts[one] for one in data["top_ranked"][query["id"]]])
        similar = documents @ model.encode(query["text"])
        # The one relevant text comes first in the list: average precision is 1 / its rank.
        rank = 1 + int((similar[1:] > similar[0]).sum())
        assert score.by_item[f"test/default/{query['id']}"] == pytest.approx(1 / rank)


def test_text_has_the_share_of_experiments_that_classified_it_correctly(
    every_kind, folder, tmp_path
):
    task = load_task("classification", every_kind)
    (score,) = score_tasks(load_eval_model(folder), [task], tmp_path)
    assert set(score.by_item) == {f"test/default/{i}" for i in range(12)}
    shares = np.array(list(score.by_item.values()))
    assert np.allclose(shares * task.n_experiments, (shares * task.n_experiments).round())
    assert shares.mean() == pytest.approx(score.score, abs=1e-6)
    assert score.score > 0


def test_score_that_is_no_mean_has_no_items(with_metric, every_kind, folder, tmp_path):
    tasks = [load_task(kind, every_kind) for kind in ("sts", "pairs", "clustering")]
    scores = score_tasks(
        load_eval_model(folder), [*tasks, with_metric("classification", "f1")], tmp_path
    )
    assert [score.metric for score in scores] == ["cosine_spearman", "max_ap", "v_measure", "f1"]
    assert [score.by_item for score in scores] == [{}] * 4


def test_sets_that_are_clustered_apart_are_items(every_kind, folder, tmp_path):
    (every_kind / "clustering").rename(every_kind / "RedditClustering")
    file = every_kind / "RedditClustering" / "data.tsv"
    header, *rows = file.read_text().splitlines()
    sets = [f"{row}\t{'ab'[i % 2]}" for i, row in enumerate(rows)]
    file.write_text("\n".join([f"{header}\tset", *sets]) + "\n", encoding="utf-8")
    (score,) = score_tasks(
        load_eval_model(folder), [load_task("RedditClustering", every_kind)], tmp_path
    )
    assert list(score.by_item) == ["test/default/0", "test/default/1"]
    assert np.mean(list(score.by_item.values())) == pytest.approx(score.score, abs=1e-6)
    assert (
        read_set_v_measures({"test": [{"hf_subset": "default", "v_measures": {"Level 0": [1.0]}}]})
        == {}
    )


def test_items_count_by_subset_as_the_score_does():
    items = {"test/en/a/1": 1.0, "test/en/a/2": 0.0, "test/en-de/b": 1.0, "test/en-de/c": 0.5}
    assert keep_if_mean_matches(items, 0.625) == items
    assert keep_if_mean_matches({**items, "test/en/d": 0.5}, 0.625) != {}
    assert keep_if_mean_matches(items, 0.7) == {}
    assert keep_if_mean_matches({}, 0.0) == {}
