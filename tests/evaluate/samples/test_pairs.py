"""What correlations, average precisions and V-measures are drawn anew of."""

import numpy as np
import pytest
from helpers.tiny_models import make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.samples.clustering import read_cluster_v_measures
from distill.evaluate.samples.items import keep_if_mean_matches
from distill.evaluate.samples.pairs import get_pair_statistic, group_pairs_by_subset
from distill.evaluate.score import score_tasks
from distill.evaluate.statistics.rank_metrics import STATISTICS, compute_unweighted
from distill.evaluate.statistics.significance import compare_scores
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")
mock_tasks = pytest.importorskip("mteb.mocks.mock_tasks")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return make_tiny_encoder(folder / "student"), make_tiny_encoder(folder / "other", seed=3)


def test_pair_has_its_gold_value_and_the_models_cosine(every_kind, folders, tmp_path):
    task = load_task("sts", every_kind)
    (score,) = score_tasks(load_eval_model(folders[0]), [task], tmp_path)
    rows = task.dataset["default"]["test"]
    model = SentenceTransformer(str(folders[0]))
    left, right = (model.encode(rows[name][:]) for name in ("sentence1", "sentence2"))
    assert len(score.pairs) == 12
    pairs = [score.pairs[f"test/default/{i}"] for i in range(12)]
    gold, predicted = zip(*pairs, strict=True)
    assert [*gold] == rows["score"][:]
    assert predicted == pytest.approx((left * right).sum(axis=1), abs=1e-5)
    (part,) = group_pairs_by_subset(score.pairs).values()
    assert compute_unweighted(STATISTICS["spearman"], *part) == pytest.approx(score.score, abs=1e-5)
    (again,) = score_tasks(load_eval_model(folders[0]), [task], tmp_path)
    assert again == score, "read back"


def test_labelled_pairs_make_up_the_average_precision(every_kind, folders, tmp_path):
    task = load_task("pairs", every_kind)
    (score,) = score_tasks(load_eval_model(folders[0]), [task], tmp_path)
    (part,) = group_pairs_by_subset(score.pairs).values()
    assert compute_unweighted(STATISTICS["average_precision"], *part) == pytest.approx(
        score.score, abs=1e-5
    )
    assert {*part[0]} == {0, 1}


@pytest.mark.parametrize("kind", ["sts", "pairs", "clustering"])
def test_every_category_of_a_folder_has_an_interval(kind, every_kind, folders, tmp_path):
    task = load_task(kind, every_kind)
    ours, theirs = (score_tasks(load_eval_model(folder), [task], tmp_path) for folder in folders)
    gap = compare_scores(ours, theirs)["overall"]
    assert gap["low"] <= gap["difference"] <= gap["high"]
    assert 0 < gap["p"] <= 1
    assert gap["items"] == ours[0].items > 0
    assert gap["wins"] is None, "no single pair is won or lost"
    same = compare_scores(ours, ours)["overall"]
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)


def test_every_language_counts_the_same(folders, tmp_path):
    task = mock_tasks.MockMultilingualSTSTask()
    ours, theirs = (score_tasks(load_eval_model(folder), [task], tmp_path) for folder in folders)
    parts = group_pairs_by_subset(ours[0].pairs)
    assert {*parts} == {"test/eng", "test/fra"}
    each = [compute_unweighted(STATISTICS["spearman"], *part) for part in parts.values()]
    assert np.mean(each) == pytest.approx(ours[0].score, abs=1e-5)
    assert compare_scores(ours, theirs)["overall"]["p"] is not None


def test_scores_of_other_pairs_are_refused(every_kind, folders, tmp_path):
    (score,) = score_tasks(load_eval_model(folders[0]), [load_task("sts", every_kind)], tmp_path)
    file = every_kind / "sts" / "test.tsv"
    file.write_text(file.read_text().replace("5.0", "2.0"), encoding="utf-8")
    (other,) = score_tasks(
        load_eval_model(folders[0]), [load_task("sts", every_kind)], tmp_path / "other"
    )
    with pytest.raises(ValueError, match="not the same pairs of sts"):
        compare_scores([score], [other])


def test_score_of_another_kind_is_not_drawn_of_pairs():
    assert get_pair_statistic("STS", "cosine_spearman") == "spearman"
    assert get_pair_statistic("PairClassification", "max_ap") == "average_precision"
    assert get_pair_statistic("STS", "cosine_pearson") is None
    assert get_pair_statistic("PairClassification", "max_f1") is None
    assert get_pair_statistic("Summarization", "cosine_spearman") is None


def test_samples_that_are_clustered_have_the_spread_of_a_bootstrap(every_kind, folders, tmp_path):
    task = load_task("clustering", every_kind)
    (score,) = score_tasks(load_eval_model(folders[0]), [task], tmp_path)
    assert len(score.resamples) == task.n_clusters
    assert keep_if_mean_matches(score.resamples, score.score) == score.resamples
    levels = {"Level 0": [0.2, 0.4], "Level 1": [0.4, 0.6]}
    found = read_cluster_v_measures(
        task, {"test": [{"hf_subset": "default", "v_measures": levels}]}
    )
    wider = np.sqrt(task.max_documents_per_cluster / len(task.dataset["default"]["test"]))
    assert [*found.values()] == pytest.approx([0.4 - 0.1 * wider, 0.4 + 0.1 * wider])
