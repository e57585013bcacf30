"""The time of the GPUs that the page docs/guides/scale.md gives for a corpus. It is reckoned from
assumptions, and nobody has measured it: no GPU was there. `distill estimate` measures instead."""

from typing import NamedTuple

H100_FLOPS_OF_ENCODER = 2e14
"""Floating-point operations a second of an encoder's products in 16 bits, in practice."""
H100_FLOPS_OF_SEARCH = 5e13
"""Likewise, of queries with the vectors of all passages."""
H100_PROMPT_TOKENS = 26_000
"""Tokens a second that an LLM of 7 billion parameters reads, with many prompts at once."""
H100_NEW_TOKENS = 12_000
"""Tokens a second that it writes, likewise."""
H100_DOLLARS_AN_HOUR = 3.0

ENCODER_PARAMETERS = 110e6
TOKENS_OF_PASSAGE = 150
TOKENS_OF_PROMPT, TOKENS_OF_QUERY = 200, 40
"""A prompt that writes a query, beside the examples that all prompts share; and what is written."""
TOKENS_OF_PAIR = 180
"""A passage, a query, and the question whether one answers the other."""
PASSAGES_A_QUERY, CANDIDATES, DIMENSIONS = 10, 20, 384


class GpuSeconds(NamedTuple):
    """Seconds of one GPU for each of the stages before training that take one."""

    embed: float
    write: float
    judge: float
    search: float

    @property
    def dollars(self) -> float:
        """The price of all of them."""
        return sum(self) / 3600 * H100_DOLLARS_AN_HOUR


def compute_gpu_seconds(passages: int) -> GpuSeconds:
    """Compute the time for a corpus, with a query for every ten passages and 20 candidates that an
    LLM judges in one pass."""
    queries = passages / PASSAGES_A_QUERY
    return GpuSeconds(
        embed=passages * TOKENS_OF_PASSAGE * 2 * ENCODER_PARAMETERS / H100_FLOPS_OF_ENCODER,
        write=queries * (TOKENS_OF_PROMPT / H100_PROMPT_TOKENS + TOKENS_OF_QUERY / H100_NEW_TOKENS),
        judge=queries * CANDIDATES * TOKENS_OF_PAIR / H100_PROMPT_TOKENS,
        search=passages * queries * 2 * DIMENSIONS / H100_FLOPS_OF_SEARCH,
    )
