"""Models that are objects of the test's own process, made of a few lines each."""

import hashlib
import random

import numpy as np

from distill.embed import EmbedderPrompts, Encoder
from distill.llm import Completion, Score
from helpers.tiny_models import TEXTS

_WORDS = sorted({word.strip(".,:;") for text in TEXTS for word in text.split()})


class InMemoryLLM:
    """Writes three words for each seed, in FRet's form, and prefers short continuations."""

    name = "in-memory"
    can_score = can_compare_verdicts = True
    supports_regex = supports_schema = has_chat = False

    def __init__(self, version=1):
        self.identity = {"model": "in-memory", "version": version}
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        self.calls = 0
        self.closed = False

    def generate(self, prompts, seeds, sampling):
        self.calls += 1
        words = [" ".join(random.Random(seed).sample(_WORDS, 3)) for seed in seeds]
        return [Completion(f" Find it.\nQuery: {query}", True) for query in words]

    def score(self, requests):
        self.calls += 1
        return [[self._score(text, one.endings) for text in one.continuations] for one in requests]

    def _score(self, text, endings):
        return Score(
            -len(text) / 10, 4, tuple(-0.1 - n - len(text) % 7 / 9 for n in range(len(endings)))
        )

    def close(self):
        self.closed = True


class WordHashes:
    """An embedder: the sum of a random vector for each word."""

    dimensions = 16
    normalizes = False
    pools_prompts = True

    def __init__(self):
        self.texts = 0

    def describe_identity(self, prompt, side):
        return {"prompt": prompt}

    def embed(self, texts, prompt, side):
        self.texts += len(texts)
        sums = [
            np.sum(
                [self._draw_vector(word) for word in (prompt + text).split()] or [self._vector("")],
                0,
            )
            for text in texts
        ]
        return np.array(sums, np.float32).reshape(len(texts), self.dimensions)

    def _draw_vector(self, word):
        seed = int.from_bytes(hashlib.sha256(word.lower().encode()).digest()[:8], "big")
        return np.random.default_rng(seed).normal(size=self.dimensions)


def make_in_memory_encoder(version=1) -> Encoder:
    identity = {"model": "word-hashes", "version": version}
    return Encoder(WordHashes(), EmbedderPrompts(), identity, "word-hashes")
