"""When, how and where a run was made."""

import json

import pytest
from helpers.report_runs import write_run

from distill.report.run_data import read_run_data
from distill.report.sections.overview import make_overview
from distill.runtime.run_log import LOG_NAME


def write_log(folder, *events):
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    (folder / LOG_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def begun(hour, *command):
    time = f"2026-01-02T{hour:02d}:30:00.000+00:00"
    return {"time": time, "message": "command begun", "command": list(command)}


PROGRESS = {"time": "2026-01-02T03:31:00.000+00:00", "message": "progress", "done": 5}
NO_WORK = {"time": "2026-01-02T09:31:00.000+00:00", "message": "progress", "done": 0}


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "bees")


def test_command_is_the_last_that_worked_on_a_stage(folder):
    model = "wheel:a==1/b#sha256=" + "0" * 64
    run = begun(3, "run", "bees.yaml", "--set", f"llm.model={model}")
    write_log(folder, begun(1, "corpus"), PROGRESS, run, PROGRESS, begun(9, "run"), NO_WORK)
    told = dict(make_overview(read_run_data(folder)))
    assert told["made"] == "2026-01-02 03:30 UTC"
    assert told["command"] == "distill run bees.yaml --set llm.model=wheel:a==1/b"


@pytest.mark.bad_input("damage", "lines of a run's log", "passed over by the report")
def test_damaged_log_hinders_nothing(folder):
    write_log(folder, "{", "[1]", '{"message": "command begun"}', begun(3, "run"), "[" * 100_000)
    assert dict(make_overview(read_run_data(folder)))["command"] == "distill run"
    (folder / LOG_NAME).unlink()
    assert "command" not in dict(make_overview(read_run_data(folder)))


def test_machine_device_and_versions_are_those_of_the_stages(folder):
    told = dict(make_overview(read_run_data(folder)))
    assert " of " in told["machine"]
    assert told["device"] in ("cpu", "cuda")
    assert told["versions"].startswith("distill ")
