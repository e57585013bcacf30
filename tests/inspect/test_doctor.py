"""What `distill doctor` tells."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from distill.inspect import doctor
from distill.inspect.doctor import Check, render_checks, run_checks


def line(name: str) -> Check:
    return next(line for line in run_checks() if line.name == name)


def test_base_packages_with_their_versions() -> None:
    assert line("torch").detail == importlib.metadata.version("torch")
    assert {found.name for found in run_checks()} >= {
        *("python", "transformers", "cpu", "cuda", "engine transformers", "engine vllm"),
        *("engine http", "near-duplicate filter", "language filter", "structured replies"),
        *("extra cpu", "extra gpu", "extra eval", "extra ray", "extra export"),
        *("DISTILL_DATA", "model cache"),
    }


def test_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda module: False)
    found = line("extra ray")
    assert found.state == "off"
    assert "ray not installed" in found.detail
    assert found.remedy.endswith("pip install -e '.[ray]'")


def test_remedies_are_shown_word_for_word() -> None:
    """Square brackets are rich's markup."""
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(
        render_checks([Check("extra ray", "off", "many [machines]", "pip install '.[ray]'")])
    )
    shown = console.export_text()
    assert "pip install '.[ray]'" in shown
    assert "many [machines]" in shown


def test_missing_libraries_have_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda module: False)
    monkeypatch.setenv("DISTILL_DATA", str(tmp_path))
    missing = [found for found in run_checks() if found.state == "missing"]
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


def test_doctor_names_packages_that_generation_lacks_and_how_to_install_them(monkeypatch) -> None:
    monkeypatch.setattr(
        doctor, "_is_installed", lambda module: module not in ("httpx", "datasketch")
    )
    assert line("engine http").state == "missing"
    assert line("engine http").remedy == "pip install httpx"
    assert line("near-duplicate filter").remedy == "pip install datasketch"
    assert line("language filter").state == "ok"


def test_engine_that_is_not_installed_says_how_to(monkeypatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "_is_installed", lambda module: False)
    found = line("engine vllm")
    assert found.state == "off"
    assert "vllm" in found.remedy


def test_api_key_is_said_to_be_set_and_never_shown(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert line("API key").state == "ok"
    assert not any("sk-secret" in part for found in run_checks() for part in found)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert line("API key").state == "off"


def test_doctors_extras_are_those_of_the_package() -> None:
    """All but `dev`, which is for working on distill."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    modules = {"faiss-cpu": "faiss", "faiss-gpu": "faiss"}
    declared = {
        extra: {
            modules.get(name, name.replace("-", "_"))
            for requirement in requirements
            if (name := re.split(r"[\[<>=;~! ]", requirement)[0])
        }
        for extra, requirements in extras.items()
        if extra not in ("dev", "docs")
    }
    assert {extra: set(names) for extra, (names, _) in doctor._EXTRAS.items()} == declared
