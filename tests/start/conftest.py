"""A folder of notes, and what is found of it."""

from dataclasses import replace

import pytest
from helpers.tiny_models import TEXTS

from distill.start.survey import survey_corpus


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "My Notes"
    (folder / "deep").mkdir(parents=True)
    for number, text in enumerate(TEXTS):
        (folder / "deep" / f"{number}.md").write_text(f"# Note {number}\n\n{text}\n")
    return folder


@pytest.fixture
def surveyed(notes):
    return survey_corpus(notes, 256)


@pytest.fixture
def large(notes, surveyed):
    """As many documents as a corpus needs of which some are held out."""
    return replace(surveyed, documents=400, whole_documents=400, passages=900)


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No server on this machine, and nothing in the hub's cache."""
    monkeypatch.setattr("distill.start.available._LOCAL_PORTS", {})
    for variable in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "VLLM_BASE_URL", "LLM_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
