"""Tokenization of prompts. Text in a prompt never becomes a special token that steers the model: a
passage that spells out `<|im_end|>` is read as those ten characters."""

import re
from functools import cached_property, lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from distill.errors import UserError
from distill.llm.prompts import CONTINUATION, Prompt
from distill.models.causal_lm import make_model_folder
from distill.models.loading import load_tokenizer
from distill.models.sources.in_memory import is_object
from distill.recipe import LanguageModel
from distill.runtime.devices import choose_device, get_torch_dtype

_CONTENT = "\ue000content\ue000"
"""Placeholder for the message while the template around it is examined (private use characters)."""

_LAST_WORD = re.compile(r"\S{1,40}\s*\Z")


class PromptTokenizer:
    """Tokenizes prompts, as plain text or in the model's chat template where it has one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self._tokenizer: Any = tokenizer
        self._name = name
        self._special = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self.has_chat = bool(tokenizer.chat_template)

    def tokenize(self, text: str, add_bos: bool = False) -> list[int]:
        """Tokenize plain text; special tokens that it spells out are split into ordinary ones.

        Args:
            add_bos: begin with the tokens that begin a prompt of this model (such as BOS). Those
                that the tokenizer ends a text with (such as EOS) are left out: more follows.
        """
        read = self._tokenizer(text, add_special_tokens=add_bos, split_special_tokens=True)
        ids = list(read["input_ids"])
        return ids[: len(ids) - self.end_count] if add_bos else ids

    @cached_property
    def end_count(self) -> int:
        """The number of tokens with which the tokenizer ends a text by itself."""
        read = self._tokenizer("x", return_special_tokens_mask=True)
        mask = list(read["special_tokens_mask"])
        return mask[::-1].index(0) if 0 in mask else 0

    def tokenize_continuation(self, prefix: str, continuation: str) -> list[int]:
        """Tokenize a continuation as it is read after its prefix.

        Raises:
            UserError: if the two meet within one token.
        """
        if not self.is_space_added(continuation[:1]):
            return self.tokenize(continuation)
        last = _LAST_WORD.search(prefix)
        ids = self._tokenize_behind(last[0] if last else "", continuation)
        if ids is None:
            raise UserError(
                f"the prompt that ends in {prefix[-60:]!r}",
                f"is read as one token with what follows it, {continuation[:60]!r}",
                "begin the prompt's second part, and its verdict, with a space",
            )
        return ids

    def is_space_added(self, start: str) -> bool:
        """Return whether a text that begins with `start` (a character) has other tokens alone than
        after another text: tokenizers of Llama 2's kind put a space before every text, and some of
        them, such as Mistral 7B's, also where there is one already."""
        return self._adds_before_space if start == " " else self._adds_before_others

    @cached_property
    def _adds_before_space(self) -> bool:
        return self._tokenize_behind("x", " a") not in (None, self.tokenize(" a"))

    @cached_property
    def _adds_before_others(self) -> bool:
        return self._tokenize_behind("x", "\na") not in (None, self.tokenize("\na"))

    def _tokenize_behind(self, before: str, text: str) -> list[int] | None:
        """Tokenize a text as it is read after another; None where no token begins with it."""
        alone, both = self.tokenize(before), self.tokenize(before + text)
        return both[len(alone) :] if both[: len(alone)] == alone else None

    def tokenize_chat(self, content: str) -> list[int]:
        """Tokenize `content` as a user's only message, up to where the model's answer begins."""
        before, plain, after = self._template
        ids = self._tokenize_template(self._render_chat(content))
        own = [*self._select_special(before), *self._select_special(after)]
        if self._select_special(ids) == own:
            return ids
        # The message spells out a special token: what lies between the template's own ones is
        # tokenised as text.
        return [*before, *self.tokenize(plain.replace(_CONTENT, content)), *after]

    @cached_property
    def _template(self) -> tuple[list[int], str, list[int]]:
        """The template in three parts: the ids up to its last special token before the message, the
        text from there to the first special token after the message, and the remaining ids."""
        before, separator, after = self._render_chat(_CONTENT).partition(_CONTENT)
        if not separator:
            raise UserError(
                self._name,
                "has a chat template that does not show a user's message as it is",
                "set llm.prompt_format to completion",
            )
        starts = [before.rfind(token) + len(token) for token in self._special if token in before]
        ends = [after.find(token) for token in self._special if token in after]
        start, end = max(starts, default=0), min(ends, default=len(after))
        plain = before[start:] + _CONTENT + after[:end]
        return self._tokenize_template(before[:start]), plain, self._tokenize_template(after[end:])

    def _render_chat(self, content: str) -> str:
        """Apply the chat template; models that think before they answer are asked not to, where
        their template has a switch for it."""
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
        except TemplateError as fault:
            raise UserError(
                self._name,
                f"has a chat template that fails: {fault}",
                "set llm.prompt_format to completion",
            ) from fault
        return rendered

    def _tokenize_template(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _select_special(self, ids: list[int]) -> list[int]:
        known = set(self._special.values())
        return [number for number in ids if number in known]


def fingerprint_tokenization(settings: LanguageModel, prompt: Prompt) -> dict[str, object]:
    """Return the part of a scoring stage's fingerprint that depends on the tokenizer. It is empty
    except for tokenizers that put a space before this prompt's second part when they read it alone,
    with which earlier versions scored one space too many, and for those that end a text by
    themselves, where earlier versions scored behind that end."""
    if settings.engine == "http" or is_object(settings.model):
        return {}
    start = prompt.source.partition(CONTINUATION)[2][:1]
    device = settings.device or choose_device()
    tokenizer = _load_prompt_tokenizer(settings.model, settings.dtype, device)
    known: dict[str, object] = {"joined": True} if tokenizer.is_space_added(start) else {}
    return known | ({"open": True} if tokenizer.end_count else {})


@lru_cache(maxsize=4)
def _load_prompt_tokenizer(model: str, dtype: str, device: str) -> PromptTokenizer:
    return PromptTokenizer(
        load_tokenizer(make_model_folder(model, get_torch_dtype(dtype, device))), model
    )
