"""Language models behind one protocol."""

from distill.llm.protocol import LLM, Completion, IdentifiedLLM, Sampling, Score, ScoreRequest

__all__ = ["LLM", "Completion", "IdentifiedLLM", "Sampling", "Score", "ScoreRequest"]
