"""Text held to a form while it is written: a regular expression or a JSON schema, through
llguidance. Before each token all those are ruled out that no text of the form could go on with."""

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
    """Whether llguidance can read the tokenizer's vocabulary: that of any fast one."""
    return isinstance(tokenizer, PreTrainedTokenizerFast)


class Constraint:
    """One form, for any number of texts.

    Raises:
        UserError: if the regular expression or the schema cannot be used.
    """

    def __init__(self, tokens: LLTokenizer, sampling: Sampling) -> None:
        self._first = LLMatcher(tokens, _make_grammar(sampling))
        if self._first.is_error():
            raise UserError(
                "the form that the LLM's text is to have",
                f"cannot be used: {self._first.get_error()}",
                "simplify the regular expression or the JSON schema",
            )

    def matcher(self) -> LLMatcher:
        """Follows one text."""
        return self._first.deep_copy()


def make_llguidance_tokenizer(
    tokenizer: PreTrainedTokenizerFast, vocabulary: int, ends: Sequence[int]
) -> LLTokenizer:
    """The tokenizer as llguidance reads it. It takes a second, so it is kept by the engine.

    Args:
        vocabulary: the number of logits, which may exceed the tokenizer's.
        ends: the ids of the tokens that end a text.
    """
    return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends))


def mask_forbidden_tokens(logits: torch.Tensor, matchers: Sequence[LLMatcher]) -> torch.Tensor:
    """The logits (rows, vocabulary) with those at minus infinity that a row's form rules out. A
    row whose matcher failed is left as it is."""
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
        # Free white space is where a small model loses itself.
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
            "the JSON schema of the LLM's text", f"is not JSON: {fault}", "mend it"
        ) from fault
