"""A run's summary with what earlier versions left out, and what its verdict rests on."""

import pytest

from distill.evaluate.run_summary import read_items, read_run_summary
from distill.evaluate.summary import SCHEMA, write_summary
from distill.files.atomic import write_json
from distill.store.run import Run


def evaluated(folder, items):
    """A run of a version that told no interval of the share kept."""
    tasks = {"mine": {"category": "Retrieval", "metric": "ndcg_at_10", "revision": "1", "items": 9}}
    with Run(folder) as run:
        stage = run.open_stage("evaluation", {})
        summary = {"schema": SCHEMA, "tasks": tasks, "models": {}, "differences": {}}
        write_summary(stage.folder / "summary.json", summary)
        if items is not None:
            write_json(stage.folder / "items.json", items)
        stage.finish()
    return folder


def test_interval_is_estimated_from_the_values_of_an_earlier_run(tmp_path):
    values = {f"test/default/{n}": {"student": n / 40, "teacher": 0.5} for n in range(30)}
    kept = read_run_summary(evaluated(tmp_path / "run", {"mine": values}))["retention"]
    assert kept["low"] < kept["share"] < kept["high"]
    assert kept["items"] == 30


def test_run_summary_without_values_has_no_interval(tmp_path):
    run = evaluated(tmp_path / "run", None)
    assert read_run_summary(run)["retention"] is None
    assert read_items(run) is None


def test_run_that_is_not_evaluated_has_no_summary(tmp_path):
    with Run(tmp_path / "run"):
        pass
    assert read_run_summary(tmp_path / "run") is None


@pytest.mark.parametrize(
    ("counts", "origin"),
    [
        ({"by title": 20, "by sentence": 4, "searched passages": 90}, "titles"),
        ({"by title": 4, "by sentence": 20, "searched passages": 90}, "sentences"),
        ({"by sentence": 20, "searched passages": 90}, "sentences"),
    ],
)
def test_verdict_of_a_known_item_search_says_what_documents_are_searched_by(
    tmp_path, counts, origin
):
    tasks = {
        name: {"category": "Retrieval", "metric": "ndcg_at_10", "revision": "1", "items": 24}
        for name in ("known-item", "SciFact")
    }
    with Run(tmp_path / "run") as run:
        asked = run.open_stage("known-item", {})
        asked.finish(counts=counts)
        stage = run.open_stage("evaluation", {}, [asked])
        summary = {"schema": SCHEMA, "tasks": tasks, "models": {}, "differences": {}}
        write_summary(stage.folder / "summary.json", summary)
        stage.finish()
    verdict = read_run_summary(tmp_path / "run")["verdict"]
    assert verdict["rests_on"] == {"known-item": origin, "SciFact": "labels"}
    assert verdict["decides_bm25"] is (origin == "titles")
