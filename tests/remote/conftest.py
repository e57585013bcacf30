"""A server that misbehaves as told, and an engine before it."""

import pytest
from helpers.fake_server import MODEL, serve
from helpers.http_engine import KEY

from distill.llm.http.engine import HTTPEngine
from distill.recipe import LanguageModel


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def make(tmp_path, monkeypatch):
    """An engine whose back-off is short, and whose cache is that of the test."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def engine(url: str, **settings) -> HTTPEngine:
        wanted = {"engine": "http", "model": MODEL, "base_url": url, "concurrency": 4, **settings}
        return HTTPEngine(LanguageModel(**wanted), tmp_path / "requests.sqlite", first_wait=0.002)

    return engine
