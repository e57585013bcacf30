"""Speeds that runs leave for later ones."""

import pytest

from distill.runtime.run_plan import PlannedStage, RunPlan, add_speeds, read_speeds, speed_key


def test_speeds_are_kept_and_added_to(tmp_path):
    add_speeds(tmp_path / "cache", {"a": 1.5})
    add_speeds(tmp_path / "cache", {"b": 2.0, "a": 1.0})
    assert read_speeds(tmp_path / "cache") == {"a": 1.0, "b": 2.0}


@pytest.mark.bad_input("disk", "a cache that cannot be written", "speeds are not kept, a run ends")
def test_speeds_that_cannot_be_kept_stop_nothing(tmp_path):
    (tmp_path / "speeds.json").mkdir()
    add_speeds(tmp_path, {"a": 1.5})
    (tmp_path / "file").touch()
    add_speeds(tmp_path / "file", {"a": 1.5})


@pytest.mark.bad_input("damage", "the file of measured speeds", "passed over")
@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"a": "fast", "b": true, "c": -1, "d": 1e999}', "[" * 100_000]
)
def test_a_damaged_file_of_speeds_is_no_reason_to_stop(tmp_path, content):
    (tmp_path / "speeds.json").write_text(content)
    assert read_speeds(tmp_path) == {}


def test_a_stage_is_timed_by_the_models_that_work_in_it():
    one, other = PlannedStage("train", 5, "tiny"), PlannedStage("train", 5, "large")
    assert speed_key(one) != speed_key(other)
    assert speed_key(one) == speed_key(PlannedStage("round-1/train", 5, "tiny"))


def test_rounds_come_one_after_the_other():
    stages = [
        PlannedStage(name, 1)
        for name in ("queries", "round-1/candidates", "round-1/train", "candidates", "train")
    ]
    plan = RunPlan(stages)
    seen = []
    for label in ("queries", "candidates", "train", "candidates", "train"):
        plan.begin(label)
        seen.append(plan.position)
    assert seen == ["[1/5] ", "[2/5] ", "[3/5] ", "[4/5] ", "[5/5] "]
