"""The engine before a fake server."""

from distill.llm import Completion, Sampling
from helpers.fake_server import (
    derive_text,
)

KEY = "sk-a-secret-that-nobody-may-read"
PROMPTS = [f"Passage: number {i}" for i in range(12)]
SEEDS = list(range(100, 112))
SAMPLED = Sampling(20, 0.7, 0.9)
TEXTS = [Completion(derive_text(p, s, 0), True) for p, s in zip(PROMPTS, SEEDS, strict=True)]
