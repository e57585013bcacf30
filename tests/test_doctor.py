"""What `distill doctor` tells."""

import importlib.metadata
from pathlib import Path

import pytest
from rich.console import Console

from distill import doctor
from distill.doctor import Line, render, report


def line(name: str) -> Line:
    return next(line for line in report() if line.name == name)


def test_base_packages_with_their_versions() -> None:
    assert line("torch").detail == importlib.metadata.version("torch")
    assert {found.name for found in report()} >= {
        *("python", "transformers", "cpu", "cuda", "engine transformers", "engine vllm"),
        *("extra cpu", "extra gpu", "extra eval", "extra ray", "extra export"),
        *("DISTILL_DATA", "model cache"),
    }


def test_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_there", lambda module: False)
    found = line("extra ray")
    assert found.state == "off"
    assert "ray not installed" in found.detail
    assert found.remedy.endswith("pip install -e '.[ray]'")


def test_remedies_are_shown_word_for_word() -> None:
    """Square brackets are rich's markup."""
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render([Line("extra ray", "off", "many [machines]", "pip install '.[ray]'")]))
    shown = console.export_text()
    assert "pip install '.[ray]'" in shown
    assert "many [machines]" in shown


def test_everything_missing_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_is_there", lambda module: False)
    monkeypatch.setenv("DISTILL_DATA", str(tmp_path))
    missing = [found for found in report() if found.state == "missing"]
    assert missing
    assert all(found.remedy for found in missing)


def test_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISTILL_DATA", raising=False)
    assert line("DISTILL_DATA").state == "off"
    (tmp_path / "mteb").mkdir()
    monkeypatch.setenv("DISTILL_DATA", str(tmp_path))
    assert line("DISTILL_DATA").state == "ok"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path / "cache"))
    assert str(tmp_path / "cache") in line("model cache").detail
