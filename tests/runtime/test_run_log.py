"""What a run's log file holds."""

import json
import logging
import stat
import warnings

import pytest

from distill.errors import EngineFailure, UserError
from distill.runtime.run_log import LOG_NAME, log_event, log_to


def _lines(folder):
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


def test_log_has_one_json_object_a_line_with_begin_and_end(tmp_path):
    with log_to(tmp_path):
        log_event("progress", stage="train", done=3)
        logging.getLogger("distill.llm").warning("the server refused %s", "a field")
    begun, progress, warned, ended = _lines(tmp_path)
    assert begun["message"] == "command begun"
    assert begun["version"]
    assert (progress["stage"], progress["done"]) == ("train", 3)
    assert (warned["level"], warned["message"]) == ("warning", "the server refused a field")
    assert ended["message"] == "command ended"
    assert ended["seconds"] >= 0
    assert all(line["time"].endswith("+00:00") for line in _lines(tmp_path))


def test_every_command_adds_to_the_log(tmp_path):
    for _ in range(2):
        with log_to(tmp_path):
            pass
    assert len(_lines(tmp_path)) == 4


def test_bad_input_is_logged_with_its_place_and_remedy(tmp_path):
    with pytest.raises(UserError), log_to(tmp_path):
        raise UserError("docs.jsonl, row 3", "is no JSON", "fix the row")
    last = _lines(tmp_path)[-1]
    assert last["message"] == "command failed"
    assert (last["where"], last["remedy"]) == ("docs.jsonl, row 3", "fix the row")
    assert "traceback" not in last


def test_engine_that_failed_is_logged_with_its_place_and_remedy(tmp_path):
    with pytest.raises(EngineFailure), log_to(tmp_path):
        raise EngineFailure("llm.engine vllm", "its process ended", "lower llm.gpu_memory")
    last = _lines(tmp_path)[-1]
    assert (last["error"], last["remedy"]) == ("EngineFailure", "lower llm.gpu_memory")
    assert "traceback" not in last


def test_unexpected_error_is_logged_with_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), log_to(tmp_path):
        1 / 0  # noqa: B018
    assert "ZeroDivisionError" in _lines(tmp_path)[-1]["traceback"]


def test_libraries_warnings_are_logged(tmp_path):
    with log_to(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("an old option", stacklevel=1)
    assert "an old option" in [line["message"] for line in _lines(tmp_path)]


@pytest.mark.bad_input("secrets", "an API key in a message", "masked in the run's log")
def test_secrets_of_the_environment_are_masked(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", 'sk-very"secret/word')
    with log_to(tmp_path):
        log_event('the server said sk-very"secret/word')
    assert "secret/word" not in (tmp_path / LOG_NAME).read_text()


@pytest.mark.bad_input("terminal escapes", "a message with escapes", "escaped in the run's log")
def test_control_characters_cannot_forge_a_line(tmp_path):
    with log_to(tmp_path):
        log_event("first\nsecond \x1b[2J")
    assert len(_lines(tmp_path)) == 3
    assert "\x1b" not in (tmp_path / LOG_NAME).read_text()


def test_log_is_readable_by_its_owner_alone(tmp_path):
    with log_to(tmp_path):
        pass
    assert stat.S_IMODE((tmp_path / LOG_NAME).stat().st_mode) == 0o600
