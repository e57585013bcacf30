"""Structured output: generation constrained to a regular expression or a JSON schema by llguidance.
Before each token, all tokens are forbidden that cannot continue an allowed text."""

from collections.abc import Sequence

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from distill.errors import UserError
from distill.llm.protocol import Sampling


def supports_structured_output(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether llguidance can read the tokenizer's vocabulary: that of any fast one."""
    return isinstance(tokenizer, PreTrainedTokenizerFast)


class Constraint:
    """One constraint (a regular expression or a JSON schema), for any number of texts.

    Raises:
        UserError: if the regular expression or the schema cannot be used.
    """

    def __init__(self, tokens: LLTokenizer, sampling: Sampling) -> None:
        self._first = LLMatcher(tokens, _make_grammar(sampling))
        if self._first.is_error():
            raise UserError(
                "the structured output of the LLM",
                f"cannot be used: {self._first.get_error()}",
                "simplify the regular expression or the JSON schema",
            )

    def make_matcher(self) -> LLMatcher:
        """Make the state that follows one text."""
        return self._first.deep_copy()


def make_llguidance_tokenizer(
    tokenizer: PreTrainedTokenizerFast, vocabulary: int, ends: Sequence[int]
) -> LLTokenizer:
    """Make the tokenizer that llguidance reads. It takes a second, so the engine does it once.

    Args:
        vocabulary: the number of logits, which may exceed the tokenizer's.
        ends: the ids of the tokens that end a text.
    """
    return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends))


def mask_forbidden_tokens(logits: torch.Tensor, matchers: Sequence[LLMatcher]) -> torch.Tensor:
    """Set the logits (rows, vocabulary) of the tokens that a row's constraint forbids to minus
    infinity. A row whose matcher failed is left as it is."""
    rows, vocabulary = logits.shape
    bits = allocate_token_bitmask(rows, vocabulary)
    for row, matcher in enumerate(matchers):
        fill_next_token_bitmask(matcher, bits, row)
        if matcher.is_error():
            bits[row] = -1
    allowed = np.unpackbits(bits.view(np.uint8), axis=1, count=vocabulary, bitorder="little")
    return logits.masked_fill(torch.from_numpy(allowed == 0).to(logits.device), -torch.inf)


def _make_grammar(sampling: Sampling) -> str:
    if sampling.regex is not None:
        return LLMatcher.grammar_from_regex(sampling.regex)
    try:
        # With free white space a small model may go on writing it without end.
        return LLMatcher.grammar_from_json_schema(
            sampling.json_schema or "{}",
            overrides={
                "whitespace_flexible": False,
                "item_separator": ", ",
                "key_separator": ": ",
            },
        )
    except ValueError as fault:
        raise UserError(
            "the JSON schema of the LLM's text", f"is not JSON: {fault}", "fix it"
        ) from fault
