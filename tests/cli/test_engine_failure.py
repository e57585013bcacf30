"""What a person sees whose engine ended, and not the input."""

import copy

import pytest

from distill import cli
from distill.errors import EngineFailure

FAILURE = EngineFailure("model 'm'", "vLLM's process ended", "a smaller llm.gpu_memory helps")


def test_engine_that_failed_is_reported_in_plain_words(monkeypatch, capsys):
    def fail(**settings):
        raise FAILURE

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert "model 'm': vLLM's process ended" in told
    assert "a smaller llm.gpu_memory helps" in told
    assert "the same command continues" in told
    assert "Traceback" not in told


def test_engine_failure_crosses_process_border_whole():
    again = copy.deepcopy(FAILURE)  # as it is sent to another process
    assert (again.where, again.what, again.remedy) == (FAILURE.where, FAILURE.what, FAILURE.remedy)
    assert str(again) == str(FAILURE)
