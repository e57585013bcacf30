"""What a person sees while a stage runs."""

import os
import pty
import re
import subprocess
import sys

import pytest
from helpers.ray_work import wait_until

from distill.runtime import progress
from distill.runtime.live_line import format_duration
from distill.runtime.progress import Progress
from distill.runtime.run_plan import MeasuredSpeed, PlannedStage, RunPlan, make_speed_key


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    # The thread that prints now and then does so by the time that really passes.
    monkeypatch.setattr(Progress, "_print_regularly", lambda self: None)
    return clock


def test_log_has_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    with Progress("generations", 100, "prompts") as bar:
        for _ in range(10):
            clock.now += 8
            bar.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "writing queries: 40 of 100 prompts, 32 s, 48 s left, 1.2 prompts/s",
        "writing queries: 80 of 100 prompts, 1 min 04 s, 16 s left, 1.2 prompts/s",
        "writing queries: 100 of 100 prompts, in 1 min 20 s, 1.2 prompts/s",
    ]


def test_amount_without_a_total_is_counted(clock, capsys):
    with Progress("reading the corpus", None, "documents") as bar:
        for _ in range(4):
            clock.now += 16
            bar.advance(300)
    assert capsys.readouterr().err.splitlines() == [
        "reading the corpus: 600 documents, 32 s, 18.8 documents/s",
        "reading the corpus: 1,200 documents, 1 min 04 s, 18.8 documents/s",
        "reading the corpus: 1,200 documents, in 1 min 04 s, 18.8 documents/s",
    ]


def test_long_shard_counts_within(clock):
    with Progress("parsed-free", 25, "passages") as bar:
        progress.count_within_shard(4)
        assert bar.amount == "4 of 25 passages"
        assert bar.figures == "0 s"  # no speed before a shard is done
        progress.count_within_shard(6)
        clock.now += 5
        bar.advance(10)
        assert bar.amount == "10 of 25 passages"
        assert bar.figures == "5 s, 8 s left, 2.0 passages/s"
        progress.count_within_shard(40)
        assert bar.amount == "25 of 25 passages"
    progress.count_within_shard()  # where nothing is shown, as in another process


def test_progress_within_a_shard_counts_answered_requests(clock):
    with Progress("generations", 40, "prompts", requests_a_unit=2) as bar:
        progress.count_requests(8)
        assert bar.amount == "4 of 40 prompts"
        assert bar.figures == "0 s"  # what a cache had is no speed
        clock.now += 10
        progress.count_requests(12)
        assert bar.amount == "10 of 40 prompts"
        assert bar.figures == "10 s, 30 s left, 1.0 prompts/s"
        clock.now += 10
        bar.advance(20)
        assert bar.figures == "20 s, 20 s left, 1.0 prompts/s"
    with Progress("corpus", 40, "passages") as bar:
        progress.count_requests(8)  # such as a probe
        assert bar.amount == "0 of 40 passages"


def test_log_has_lines_while_nothing_ends(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_TO_FIRST_LINE", 0.02)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    said = []

    def has_two_lines() -> bool:
        said.append(capsys.readouterr().err)
        return "".join(said).count("writing queries: 0 of 100 prompts") >= 2

    with Progress("generations", 100, "prompts"):
        wait_until(has_two_lines)


def test_activity_of_a_few_seconds_leaves_no_line(clock, capsys):
    with progress.show_activity("loading the LLM"):
        clock.now += 9
    assert capsys.readouterr().err == ""


def test_activity_that_takes_long_says_how_long_it_took(clock, capsys):
    with progress.show_activity("loading the LLM"):
        clock.now += 75
    assert capsys.readouterr().err == "loading the LLM in 1 min 15 s\n"


def test_time_between_stages_counts_from_the_end_of_the_last(clock, capsys):
    with progress.follow_plan(RunPlan([PlannedStage("train", 20.0, "student")], {})):
        with Progress("train", 10, "steps") as bar:
            clock.now += 60
            bar.advance(10)
        clock.now += 12
    assert capsys.readouterr().err.splitlines()[-1] == "[1/1] preparing the next step in 12 s"


def test_activity_around_other_work_counts_from_its_own_begin(clock, capsys):
    with progress.show_activity("evaluating"):
        clock.now += 20
        with Progress("embed passages", 10, "texts") as bar:
            bar.advance(10)
    assert capsys.readouterr().err.splitlines()[-1] == "evaluating in 20 s"


def test_work_that_is_interrupted_says_how_far_it_came(clock, capsys):
    bar = Progress("generations", 10, "prompts").__enter__()
    clock.now += 5
    bar.advance(2)
    bar.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    said = "writing queries: 2 of 10 prompts, stopped after 5 s, 0.4 prompts/s\n"
    assert capsys.readouterr().err == said


def test_note_stands_among_the_figures(clock, capsys):
    with Progress("train", 10, "steps") as bar:
        clock.now += 5
        bar.note = "loss 0.25"
        bar.advance(10)
    assert capsys.readouterr().err == "training: 10 of 10 steps, in 5 s, loss 0.25, 2.0 steps/s\n"


def test_note_that_changes_while_nothing_is_done_is_shown_as_it_stands(clock):
    workers = ["2 workers"]
    with Progress("generations", 10, "prompts", tell=lambda: workers[-1]) as bar:
        bar.advance()
        assert "2 workers" in bar.figures
        workers.append("0 workers, 2 lost")
        assert "0 workers, 2 lost" in bar.figures


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
    plan = RunPlan(stages, {make_speed_key(stages[1]): MeasuredSpeed(40.0, 20.0)})
    measured: dict[str, MeasuredSpeed] = {}
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
    # Nobody knows the speed of the last stage yet.
    left = "2 min 30 s left and 1 stage not timed yet"
    said = "[1/3] writing queries: 50 of 100 prompts, 50 s, 50 s left"
    shown = capsys.readouterr().err.splitlines()[0]
    assert shown == f"{said}, run: 50 s, {left}, 1.0 prompts/s"
    assert measured == {make_speed_key(plan.stages[0]): (50.0, 50)}


def test_work_counted_in_shards_is_timed_in_the_units_of_the_plan(clock, capsys):
    stages = [PlannedStage("labels", 16_000.0, "llm", "pairs")]
    measured: dict[str, MeasuredSpeed] = {}
    for unit, total in (("shards", 64), ("pairs", 10_000)):
        with (
            progress.follow_plan(RunPlan(stages), measured.update),
            Progress("labels", total, unit, done=total // 2) as bar,
        ):
            clock.now += 20
            bar.advance(total // 2)
        units = 8_000 if unit == "shards" else 5_000
        assert measured == {make_speed_key(stages[0]): (20.0, units)}


def test_time_left_of_the_run_is_exact_where_every_speed_is_known(clock, plan):
    plan, _ = plan
    plan.speeds = {**plan.speeds, make_speed_key(plan.stages[2]): MeasuredSpeed(30.0, 10)}
    with Progress("judgements-ql", 50, "pairs") as bar:
        clock.now += 10
        bar.advance(10)
        assert bar.figures == "10 s, 40 s left, run: 10 s, 1 min 40 s left, 1.0 pairs/s"


def test_work_outside_stages_is_part_of_the_stage_before_it(clock, plan):
    with Progress("judgements-ql", 50, "pairs"):
        pass
    with Progress("embed passages", 10, "texts") as bar:
        clock.now += 5
        bar.advance(5)
        assert bar.figures == "5 s, 5 s left, run: 5 s, 1.0 texts/s"


def test_progress_of_an_earlier_run_counts_as_done_but_not_as_speed(clock):
    with Progress("generations", 100, "prompts", done=50) as bar:
        clock.now += 10
        bar.advance(10)
        assert bar.figures == "10 s, 40 s left, 1.0 prompts/s"


def test_tokens_and_failures_are_those_of_this_piece_of_work(clock):
    counted = {"prompt": 900, "shared": 500, "new": 700, "failures": 2}
    with Progress("generations", 20, "prompts", tokens=lambda: counted) as bar:
        clock.now += 10
        assert bar.figures == "10 s"
        counted["new"] += 500
        assert bar.figures == "10 s, 50 tokens/s"
        bar.advance(5)
        assert bar.figures == "10 s, 30 s left, 0.5 prompts/s, 50 tokens/s"
        counted["failures"] += 3
        assert bar.figures == "10 s, 30 s left, 0.5 prompts/s, 50 tokens/s, 3 failed"


def test_scoring_shows_prompt_tokens(clock):
    counted = {"prompt": 0, "shared": 0, "new": 0}
    with Progress("judgements-ql", 20, "pairs", tokens=lambda: counted) as bar:
        clock.now += 1
        counted["prompt"] = 12345
        assert bar.figures == "1 s, 12,345 prompt tokens/s"


def test_few_slow_units_give_no_time_left(clock):
    with Progress("generations", 14_000, "prompts") as bar:
        clock.now += 60
        bar.advance(2)
        assert bar.figures == "1 min 00 s, 0.0 prompts/s"
        clock.now += 40
        bar.advance(138)
        assert bar.figures == "1 min 40 s, 2 h 45 min left, 1.4 prompts/s"


def test_time_left_of_long_work_is_shown_after_five_minutes(clock):
    with Progress("generations", 1_000_000, "prompts") as bar:
        clock.now += 300
        bar.advance(1000)
        assert "3 d 11 h left" in bar.figures


def test_time_left_runs_down_while_a_shard_is_in_flight(clock):
    with Progress("generations", 100, "prompts") as bar:
        clock.now += 10
        bar.advance(50)
        assert bar.figures == "10 s, 10 s left, 5.0 prompts/s"
        clock.now += 4
        assert bar.figures == "14 s, 6 s left, 5.0 prompts/s"


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
    assert format_duration(seconds) == said


CHILD = """
from distill.runtime.progress import Progress, show_activity
with show_activity("loading the LLM"):
    input()
    with Progress("generations", 10, "prompts", tokens=lambda: {"new": 5}) as bar:
        bar.advance(4)
        input()
        bar.advance(6)
"""


def read_until(terminal: int, text: str = "") -> str:
    """Read what is shown until a text has come; without one, until nobody writes any more."""
    shown = b""
    while not text or text.encode() not in shown:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the last one that wrote has closed it
            break
    return shown.decode(errors="replace")


def test_terminal_shows_one_live_line_and_keeps_the_finished_ones():
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"COLUMNS": "120", "TERM": "xterm"},
    ) as child:
        os.close(theirs)
        shown = ""
        for text in ("loading the LLM", "4 of 10 prompts"):
            shown += read_until(ours, text)
            assert text in shown
            child.stdin.write(b"\n")
            child.stdin.flush()
        shown += read_until(ours)
        os.close(ours)
    assert child.returncode == 0
    assert re.search(r"writing queries: 10 of 10 prompts, in \d+ s, ", shown)
    # The last thing drawn is nothing: the live line leaves with the work.
    assert shown.rstrip().endswith("\x1b[?25h") or shown.rstrip().endswith("\x1b[2K")
