"""The engine before a fake server: the fixtures of the folders that test it."""

from collections.abc import Callable, Iterator

import pytest

from distill.llm import Completion, Sampling
from distill.llm.http.engine import HTTPEngine
from distill.recipe import LanguageModel
from helpers.fake_server import MODEL, Server, derive_text, serve

KEY = "sk-a-secret-that-nobody-may-read"
PROMPTS = [f"Passage: number {i}" for i in range(12)]
SEEDS = list(range(100, 112))
SAMPLED = Sampling(20, 0.7, 0.9)
TEXTS = [Completion(derive_text(p, s, 0), True) for p, s in zip(PROMPTS, SEEDS, strict=True)]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture
def make(tmp_path, monkeypatch) -> Callable[..., HTTPEngine]:
    """An engine whose back-off is short, and whose cache is that of the test."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def make_engine(url: str, **settings) -> HTTPEngine:
        wanted = {"engine": "http", "model": MODEL, "base_url": url, "concurrency": 4, **settings}
        return HTTPEngine(LanguageModel(**wanted), tmp_path / "requests.sqlite", first_wait=0.002)

    return make_engine
