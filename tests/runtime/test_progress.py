"""What a person sees while a stage runs."""

import os
import pty
import subprocess
import sys
import time

import pytest

from distill.runtime import progress
from distill.runtime.progress import Progress, duration
from distill.runtime.run_plan import PlannedStage, RunPlan, speed_key


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    with Progress("generations", 100, "prompts") as bar:
        for _ in range(10):
            clock.now += 8
            bar.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "generations: 40/100 prompts, 1.2 prompts/s, 48 s left",
        "generations: 80/100 prompts, 1.2 prompts/s, 16 s left",
        "generations: 100/100 prompts, 1.2 prompts/s, 0 s left",
    ]


def test_a_log_has_lines_while_nothing_ends(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    with Progress("generations", 100, "prompts"):
        time.sleep(0.4)
        assert capsys.readouterr().err.count("generations: 0/100 prompts") >= 2


def test_quiet_shows_no_progress(clock, capsys):
    progress.show_progress(quiet=True)
    try:
        with Progress("generations", 1, "prompts") as bar:
            bar.advance()
    finally:
        progress.show_progress(quiet=False)
    assert capsys.readouterr().err == ""


@pytest.fixture
def plan():
    stages = [
        PlannedStage("generations", 100.0, "llm"),
        PlannedStage("judgements-ql", 50.0, "llm"),
        PlannedStage("train", 20.0, "student"),
    ]
    plan = RunPlan(stages, {speed_key(stages[1]): 2.0})
    measured: dict[str, float] = {}
    with progress.follow_plan(plan, measured.update):
        yield plan, measured


def test_progress_after_a_run_says_nothing_of_it(clock, capsys):
    with progress.follow_plan(RunPlan([PlannedStage("train", 20.0, "student")], {})):
        pass
    with Progress("generations", 10, "prompts") as bar:
        clock.now += 50
        bar.advance(10)
    assert "run:" not in capsys.readouterr().err


def test_progress_says_where_the_whole_run_is_and_what_it_still_takes(clock, plan, capsys):
    plan, measured = plan
    with Progress("generations", 100, "prompts") as bar:
        clock.now += 50
        bar.advance(50)
    # Half of 100 at one a second, 50 pairs at two seconds, and steps whose speed nobody knows.
    said = "[1/3] generations: 50/100 prompts, 1.0 prompts/s, 50 s left"
    assert capsys.readouterr().err.splitlines()[0] == f"{said}, run: at least 2 min 30 s left"
    assert measured == {speed_key(plan.stages[0]): 1.0}


def test_time_left_of_the_run_is_exact_where_every_speed_is_known(clock, plan):
    plan, _ = plan
    plan.speeds = {**plan.speeds, speed_key(plan.stages[2]): 3.0}
    with Progress("judgements-ql", 50, "pairs") as bar:
        clock.now += 10
        bar.advance(10)
        assert bar.figures == "1.0 pairs/s, 40 s left, run: 1 min 40 s left"


def test_other_work_is_part_of_the_stage_before_it(clock, plan):
    with Progress("judgements-ql", 50, "pairs"):
        pass
    with Progress("embed passages", 10, "texts") as bar:
        clock.now += 5
        bar.advance(5)
        assert bar.figures.endswith("5 s left, run: at least 5 s left")


def test_what_an_earlier_run_did_counts_as_done_but_not_as_speed(clock):
    with Progress("generations", 100, "prompts", done=50) as bar:
        clock.now += 10
        bar.advance(10)
        assert bar.figures == "1.0 prompts/s, 40 s left"


def test_tokens_and_failures_are_those_of_this_piece_of_work(clock):
    counted = {"prompt": 900, "shared": 500, "new": 700, "failures": 2}
    with Progress("generations", 20, "prompts", tokens=lambda: counted) as bar:
        clock.now += 10
        assert bar.figures == ""
        counted["new"] += 500
        assert bar.figures == "50 tokens/s"
        bar.advance(5)
        assert bar.figures == "0.5 prompts/s, 50 tokens/s, 30 s left"
        counted["failures"] += 3
        assert bar.figures == "0.5 prompts/s, 50 tokens/s, 3 failed, 30 s left"


def test_scoring_shows_prompt_tokens(clock):
    counted = {"prompt": 0, "shared": 0, "new": 0}
    with Progress("judgements-ql", 20, "pairs", tokens=lambda: counted) as bar:
        clock.now += 1
        counted["prompt"] = 12345
        assert bar.figures == "12,345 prompt tokens/s"


def test_time_left_runs_down_while_a_shard_is_in_flight(clock):
    with Progress("generations", 100, "prompts") as bar:
        clock.now += 10
        bar.advance(50)
        assert bar.figures == "5.0 prompts/s, 10 s left"
        clock.now += 4
        assert bar.figures == "5.0 prompts/s, 6 s left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3 * 86400 + 7300, "3 d 2 h"),
    ],
)
def test_durations_are_for_people(seconds, said):
    assert duration(seconds) == said


CHILD = """
from distill.runtime.progress import Progress
with Progress("generations", 10, "prompts", tokens=lambda: {"new": 5}) as bar:
    bar.advance(10)
"""


def test_a_terminal_shows_a_bar():
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", CHILD], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "generations" in shown
    assert "10/10" in shown
    assert "prompts/s" in shown
