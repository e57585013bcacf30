"""What the tests of models in an evaluation share."""

import pytest

from distill.embed.local import LocalEmbedder


@pytest.fixture
def encoded(monkeypatch):
    """The texts that a model encodes from here on, in their order."""
    seen: list[str] = []
    embed = LocalEmbedder.embed

    def watched(self, texts, prompt, side):
        seen.extend(texts)
        return embed(self, texts, prompt, side)

    monkeypatch.setattr(LocalEmbedder, "embed", watched)
    return seen
