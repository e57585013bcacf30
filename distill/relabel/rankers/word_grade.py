"""Relevance as a grade in words, for engines that give no log-probabilities at all."""

from collections.abc import Sequence

from distill.llm.http.scoring import graded_answer
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Sampling
from distill.llm.thoughts import without_thoughts

HIGHEST = 10.0
_SAMPLING = Sampling(max_new_tokens=16, temperature=0.0, stop=("\n",))
_CHAT = Sampling(max_new_tokens=64, temperature=0.0, chat=True)


def judge_by_grade(
    llm: LLM, prompt: Prompt, requests: Sequence[tuple[str, Sequence[str]]], chat: bool
) -> list[list[tuple[float, int]]]:
    """For each passage and its queries, (grade from 0 to 10, 0 tokens). A reply that is no grade
    counts as 0: it says nothing for the passage."""
    pairs = [(passage, query) for passage, queries in requests for query in queries]
    asked = [prompt.render(passage=passage, query=query) for passage, query in pairs]
    written = llm.generate(asked, [0] * len(asked), _CHAT if chat else _SAMPLING)
    grades = iter(_grade(reply.text) for reply in written)
    return [[(next(grades), 0) for _ in queries] for _, queries in requests]


def _grade(reply: str) -> float:
    return graded_answer(without_thoughts(reply) or "", HIGHEST) or 0.0
