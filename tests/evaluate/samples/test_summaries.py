"""The score of each text whose summaries a model judges."""

import datasets
import numpy as np
import pytest
from helpers.tiny_models import TEXTS, make_tiny_encoder
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.samples.summaries import has_summary_correlations
from distill.evaluate.score import score_tasks
from distill.evaluate.statistics.significance import compare_scores

mteb = pytest.importorskip("mteb")
mock_tasks = pytest.importorskip("mteb.mocks.mock_tasks")

WORDS = [text.split() for text in TEXTS[:6]]
ROWS = {
    "text": TEXTS[:6],
    "human_summaries": [[" ".join(words[:4]), " ".join(words[1:6])] for words in WORDS],
    "machine_summaries": [[" ".join(words[i : i + 3]) for i in range(4)] for words in WORDS],
    "relevance": [[(i * 3 + n) % 5 for i in range(4)] for n in range(5)] + [[2, 2, 2, 2]],
}
"""Of the last text people scored all summaries alike."""


class Summaries(mock_tasks.MockSummarizationTask):
    def load_data(self, num_proc=None, **kwargs):
        self.dataset = datasets.DatasetDict({"test": datasets.Dataset.from_dict(ROWS)})
        self.data_loaded = True


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [make_tiny_encoder(root / f"{seed}" / "student", seed=seed) for seed in (1, 2)]


def test_text_has_the_correlation_of_its_summaries(folders, tmp_path):
    (score,) = score_tasks(load_eval_model(folders[0]), [Summaries()], tmp_path)
    model = SentenceTransformer(str(folders[0]))
    assert [*score.by_item] == [f"test/default/{n}" for n in range(5)]
    assert np.mean([*score.by_item.values()]) == pytest.approx(score.score, abs=1e-5)
    for n, found in enumerate(score.by_item.values()):
        machine, human = (model.encode(ROWS[f"{who}_summaries"][n]) for who in ("machine", "human"))
        lengths = [np.linalg.norm(vectors, axis=1) for vectors in (machine, human)]
        similar = (machine @ human.T / np.outer(*lengths)).max(axis=1)
        assert found == pytest.approx(spearmanr(ROWS["relevance"][n], similar).statistic)


def test_difference_of_two_models_has_an_interval(folders, tmp_path):
    ours, theirs = (
        score_tasks(load_eval_model(folder), [Summaries()], tmp_path) for folder in folders
    )
    found = compare_scores(ours, theirs)["tasks"][ours[0].task]
    assert found["items"] == 5
    assert found["low"] <= found["difference"] <= found["high"]
    assert 0 < found["p"] <= 1


def test_model_that_tells_no_summaries_apart_has_no_such_scores(folders, tmp_path, monkeypatch):
    alike = ROWS | {"machine_summaries": [ROWS["machine_summaries"][0], *[["alike"] * 4] * 5]}
    monkeypatch.setattr(f"{__name__}.ROWS", alike)
    (score,) = score_tasks(load_eval_model(folders[0]), [Summaries()], tmp_path)
    assert score.by_item == {}


def test_other_scores_of_summaries_are_no_such_means():
    task = Summaries()
    assert has_summary_correlations(task)
    task.metadata = task.metadata.model_copy(update={"main_score": "something_else"})
    assert not has_summary_correlations(task)
    assert not has_summary_correlations(mock_tasks.MockMultilingualSTSTask())


def _measure(metric):
    return metric.rpartition("_at_")[0].removeprefix("max_over_subqueries_")


def test_every_task_of_mtebs_english_benchmark_has_an_interval():
    """All of what makes up its score has values to draw from: of queries, texts, pairs, samples."""
    from distill.evaluate.samples.items import TREC_NAMES, has_text_accuracies
    from distill.evaluate.samples.pairs import get_pair_statistic

    without = []
    for task in mteb.get_benchmark("MTEB(eng, v2)").tasks:
        category, metric = task.metadata.type, task.metadata.main_score
        ranked = category in ("Retrieval", "Reranking") and _measure(metric) in {*TREC_NAMES, "mrr"}
        clustered = category == "Clustering" and metric == "v_measure"
        drawn = ranked or clustered or get_pair_statistic(category, metric) is not None
        if not (drawn or has_text_accuracies(task) or has_summary_correlations(task)):
            without.append((task.metadata.name, category, metric))
    assert without == []
