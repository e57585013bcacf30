"""An F1 is drawn anew from the labels of texts, and is scikit-learn's in every draw."""

import numpy as np
import pytest
from helpers.tiny_models import make_tiny_encoder
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.samples.labels import (
    compute_f1,
    get_f1_average,
    group_labels_by_subset,
    has_labels,
)
from distill.evaluate.score import score_tasks
from distill.evaluate.statistics import resampling
from distill.evaluate.statistics.f1 import LabelPredictions, make_weighted_f1
from distill.evaluate.statistics.significance import compare_scores
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")
mock_tasks = pytest.importorskip("mteb.mocks.mock_tasks")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [make_tiny_encoder(root / f"{seed}" / "student", seed=seed) for seed in (1, 2)]


def with_metric(task, metric):
    task.metadata = task.metadata.model_copy(update={"main_score": metric})
    return task


def told(seed, texts=40, runs=3, most=1) -> LabelPredictions:
    draw = np.random.default_rng(seed)

    def labels():
        return [
            *draw.choice(["a", "b", "c", "rare"], most, replace=False, p=[0.5, 0.3, 0.15, 0.05])
        ]

    return LabelPredictions(
        [labels() for _ in range(texts)], [[labels() for _ in range(runs)] for _ in range(texts)]
    )


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_text_that_is_drawn_twice_counts_twice(average):
    of = told(1)
    weights = np.random.default_rng(2).integers(0, 3, (40, 5)).astype(np.float64)
    found = make_weighted_f1(of, average)(weights)
    for column, value in enumerate(found):
        drawn_texts = np.repeat(np.arange(40), weights[:, column].astype(int))
        gold = [of.gold[i][0] for i in drawn_texts]
        runs = [[of.given[i][run][0] for i in drawn_texts] for run in range(3)]
        expected = np.mean([f1_score(gold, run, average=average) for run in runs])
        assert value == pytest.approx(expected)


def test_text_may_have_several_labels():
    of = told(3, most=2)
    binarizer = MultiLabelBinarizer().fit(of.gold)
    gold = binarizer.transform(of.gold)
    runs = [binarizer.transform([text[run] for text in of.given]) for run in range(3)]
    expected = np.mean([f1_score(gold, run, average="macro", zero_division=0) for run in runs])
    assert compute_f1(of, "macro") == pytest.approx(expected)


def test_interval_is_that_of_a_loop():
    ours = told(4)
    theirs = LabelPredictions(ours.gold, told(5).given)
    found = resampling.resample_labels("macro", ours, theirs, np.random.default_rng(0))

    def score(of, texts):
        gold = [of.gold[i][0] for i in texts]
        runs = [[of.given[i][run][0] for i in texts] for run in range(3)]
        return np.mean([f1_score(gold, run, average="macro") for run in runs])

    rng = np.random.default_rng(6)
    samples = [rng.integers(0, 40, 40) for _ in range(250)]
    loop = [score(ours, texts) - score(theirs, texts) for texts in samples]
    assert found.observed == pytest.approx(score(ours, range(40)) - score(theirs, range(40)))
    assert found.bootstrap.std() == pytest.approx(np.std(loop), rel=0.15)
    assert np.percentile(found.bootstrap, [2.5, 97.5]) == pytest.approx(
        np.percentile(loop, [2.5, 97.5]), abs=0.03
    )
    assert abs(found.permuted.mean()) < 0.02


def test_models_that_give_the_same_labels_do_not_differ():
    of = told(7)
    found = resampling.resample_labels("weighted", of, of, np.random.default_rng(0))
    assert found.observed == 0
    assert not found.bootstrap.any()
    assert not found.permuted.any()


@pytest.mark.parametrize("metric", ["f1", "f1_weighted"])
def test_f1_of_a_classification_has_an_interval(metric, every_kind, folders, tmp_path):
    task = with_metric(load_task("classification", every_kind), metric)
    ours, theirs = (score_tasks(load_eval_model(folder), [task], tmp_path) for folder in folders)
    (told_of,) = group_labels_by_subset(ours[0].labels).values()
    assert compute_f1(told_of, get_f1_average("Classification", metric)) == pytest.approx(
        ours[0].score, abs=1e-5
    )
    assert ours[0].by_item == {}
    found = compare_scores(ours, theirs)["tasks"][ours[0].task]
    assert found["low"] <= found["difference"] <= found["high"]
    assert (found["items"], found["wins"]) == (ours[0].items, None)
    again = compare_scores(ours, ours)["overall"]
    assert (again["difference"], again["low"], again["high"], again["p"]) == (0, 0, 0, 1)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_multilabel_classification_has_an_interval(metric, folders, tmp_path):
    task = with_metric(mock_tasks.MockMultilabelClassification(), metric)
    ours, theirs = (score_tasks(load_eval_model(folder), [task], tmp_path) for folder in folders)
    assert ours[0].items
    assert compare_scores(ours, theirs)["overall"]["low"] is not None
    if metric == "accuracy":
        assert np.mean([*ours[0].by_item.values()]) == pytest.approx(ours[0].score, abs=1e-5)


def test_labels_of_other_texts_are_refused(every_kind, folders, tmp_path):
    task = with_metric(load_task("classification", every_kind), "f1")
    (score,) = score_tasks(load_eval_model(folders[0]), [task], tmp_path)
    other = {key: (["other"], given) for key, (_, given) in score.labels.items()}
    with pytest.raises(ValueError, match="not the same labels of classification"):
        compare_scores([score], [score.__class__(**{**vars(score), "labels": other})])


def test_score_of_another_kind_is_no_f1(every_kind):
    task = load_task("classification", every_kind)
    assert not has_labels(task)  # accuracy has values of single texts
    assert not has_labels(load_task("sts", every_kind))
    assert get_f1_average("MultilabelClassification", "lrap") is None
    assert get_f1_average("PairClassification", "max_f1") is None
