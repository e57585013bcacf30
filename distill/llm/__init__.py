"""Language models behind one protocol."""

from distill.llm.protocol import LLM, Sampling, Score, ScoreRequest, Written

__all__ = ["LLM", "Sampling", "Score", "ScoreRequest", "Written"]
