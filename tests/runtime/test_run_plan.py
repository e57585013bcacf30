"""Speeds that runs leave for later ones."""

import pytest

from distill.runtime.run_plan import (
    MeasuredSpeed,
    PlannedStage,
    RunPlan,
    add_speeds,
    make_speed_key,
    read_speeds,
)

SPEED = MeasuredSpeed(30.0, 20.0)


def test_speeds_are_kept_and_added_to(tmp_path):
    later = {"b": MeasuredSpeed(40.0, 20.0), "a": MeasuredSpeed(10.0, 10.0)}
    add_speeds(tmp_path / "cache", {"a": SPEED})
    add_speeds(tmp_path / "cache", later)
    assert read_speeds(tmp_path / "cache") == later


def test_tiny_run_does_not_replace_the_speed_of_a_larger_one(tmp_path):
    add_speeds(tmp_path, {"a": SPEED, "b": MeasuredSpeed(2.0, 8)})
    add_speeds(tmp_path, {"a": MeasuredSpeed(3.0, 1), "b": MeasuredSpeed(1.0, 9)})
    assert read_speeds(tmp_path) == {"a": SPEED, "b": (1.0, 9)}


def test_speed_of_a_tiny_run_says_nothing_of_a_large_one():
    stages = [PlannedStage("queries", 10.0), PlannedStage("train", 1000.0)]
    plan = RunPlan(stages, {make_speed_key(stages[1]): MeasuredSpeed(9.0, 10)})
    plan.begin("queries")
    assert plan.describe_time_left(1.0, whole_stage=True) == "1 s left and 1 stage not timed yet"
    plan.speeds = {make_speed_key(stages[1]): MeasuredSpeed(9.0, 100)}
    assert plan.describe_time_left(1.0, whole_stage=True) == "1 min 31 s left"
    plan.speeds = {make_speed_key(stages[1]): MeasuredSpeed(10.0, 10)}
    assert plan.describe_time_left(1.0, whole_stage=True) == "16 min 41 s left"


def test_run_on_a_new_machine_says_how_many_stages_it_cannot_time():
    stages = [PlannedStage("queries", 10.0), PlannedStage("labels", None), PlannedStage("train", 9)]
    plan = RunPlan([*stages, PlannedStage("evaluation", 1.0)])
    plan.speeds = {make_speed_key(plan.stages[3]): MeasuredSpeed(60.0, 1)}
    plan.begin("queries")
    said = plan.describe_time_left(30.0, whole_stage=True)
    assert said == "1 min 30 s left and 2 stages not timed yet"
    assert plan.describe_time_left(30.0, whole_stage=False) == ""


@pytest.mark.bad_input("disk", "a cache that cannot be written", "speeds are not kept, a run ends")
def test_speeds_that_cannot_be_kept_stop_nothing(tmp_path):
    (tmp_path / "speeds.json").mkdir()
    add_speeds(tmp_path, {"a": SPEED})
    (tmp_path / "file").touch()
    add_speeds(tmp_path / "file", {"a": SPEED})


@pytest.mark.bad_input("damage", "the file of measured speeds", "passed over")
@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[1]", "[" * 100_000),
        '{"a": "fast", "b": true, "c": 1.5, "d": [1e999, 1]}',
        '{"a": [1], "b": [true, 1], "c": [-1, 1], "d": [1, 0]}',
    ],
)
def test_damaged_file_of_speeds_is_no_reason_to_stop(tmp_path, content):
    (tmp_path / "speeds.json").write_text(content)
    assert read_speeds(tmp_path) == {}


def test_stage_is_timed_by_the_models_that_work_in_it():
    one, other = PlannedStage("train", 5, "tiny"), PlannedStage("train", 5, "large")
    assert make_speed_key(one) != make_speed_key(other)
    assert make_speed_key(one) == make_speed_key(PlannedStage("round-1/train", 5, "tiny"))
    assert make_speed_key(one) != make_speed_key(PlannedStage("train", 5, "tiny", "steps"))


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
