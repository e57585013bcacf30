"""An LLM that judges by the words that query and passage share."""

import random
import re

from distill.llm import Completion, Score
from helpers.in_memory import InMemoryLLM

HELD_OUT_PROMPT = "information desk"
"""Words of the packaged prompt for held-out queries alone."""


class OverlapLLM(InMemoryLLM):
    """Asks with five words of the passage, and grades a pair by the share of the query's words that
    the passage holds. `asked` keeps the prompts, `scored` counts pairs."""

    def __init__(self, version=1):
        super().__init__(version)
        self.asked = []
        self.scored = 0

    def generate(self, prompts, seeds, sampling):
        self.asked += prompts
        return [self._write(*of) for of in zip(prompts, seeds, strict=True)]

    def score(self, requests):
        self.scored += sum(len(one.continuations) for one in requests)
        return [
            [self._judge(one.prefix, text, one.endings) for text in one.continuations]
            for one in requests
        ]

    def _write(self, prompt, seed):
        words = _find_last_passage(prompt).split()
        query = " ".join(random.Random(seed).sample(words, min(5, len(words))))
        told = query if HELD_OUT_PROMPT in prompt else f"Find it.\nQuery: {query}"
        return Completion(f" {told}", True)

    def _judge(self, prefix, text, endings):
        query, passage = (
            set(re.findall(r"\w+", of.lower())) for of in (text, _find_last_passage(prefix))
        )
        share = len((query - {"relevance", "relevant"}) & passage) / max(1, len(query) - 1)
        best = (1 - share) if len(endings) == 2 else share * (len(endings) - 1)
        return Score(
            -len(text) / 10, 4, tuple(-0.1 - 3 * abs(n - best) for n in range(len(endings)))
        )


def _find_last_passage(prompt):
    return prompt.rsplit("Passage: ", 1)[-1].split("\n")[0]
