"""Language models behind one protocol."""

from distill.llm.protocol import LLM, Completion, Sampling, Score, ScoreRequest

__all__ = ["LLM", "Completion", "Sampling", "Score", "ScoreRequest"]
