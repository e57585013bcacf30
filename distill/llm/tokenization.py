"""Prompts -> token ids. What a prompt says never becomes a token that steers the model: a passage
that spells out `<|im_end|>` is read as those ten characters."""

import re
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from distill.errors import UserError

_CONTENT = "\ue000content\ue000"
"""Stands for the message while the template around it is looked at (private use characters)."""

_LAST_WORD = re.compile(r"\S{1,40}\s*\Z")


class PromptTokenizer:
    """A tokenizer, and the model's chat template where it has one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self._tokenizer: Any = tokenizer
        self._name = name
        self._special = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self.has_chat = bool(tokenizer.chat_template)

    def text(self, text: str, first: bool) -> list[int]:
        """Only what begins a prompt takes the model's own beginning (a BOS token)."""
        ids = self._tokenizer(text, add_special_tokens=first, split_special_tokens=True)
        return list(ids["input_ids"])

    def behind(self, prefix: str, continuation: str) -> list[int]:
        """The ids of a continuation as it is read behind the end of a prefix.

        Raises:
            UserError: if the two meet within one token.
        """
        if not self.adds_a_blank(continuation[:1]):
            return self.text(continuation, first=False)
        last = _LAST_WORD.search(prefix)
        ids = self._joined(last[0] if last else "", continuation)
        if ids is None:
            raise UserError(
                f"the prompt that ends in {prefix[-60:]!r}",
                f"is read as one token with what follows it, {continuation[:60]!r}",
                "begin the prompt's second part, and its verdict, with a blank",
            )
        return ids

    def adds_a_blank(self, start: str) -> bool:
        """Whether a text that begins with `start` (a character) is other tokens alone than behind
        a text: tokenizers of Llama 2's kind put a blank before every text, and some of them, such
        as Mistral 7B's, also where there is one already."""
        return self._adds_to_blank if start == " " else self._adds_to_others

    @cached_property
    def _adds_to_blank(self) -> bool:
        return self._joined("x", " a") not in (None, self.text(" a", first=False))

    @cached_property
    def _adds_to_others(self) -> bool:
        return self._joined("x", "\na") not in (None, self.text("\na", first=False))

    def _joined(self, before: str, text: str) -> list[int] | None:
        """The ids of the text behind another one; None where no token begins with it."""
        alone, both = self.text(before, first=False), self.text(before + text, first=False)
        return both[len(alone) :] if both[: len(alone)] == alone else None

    def chat(self, content: str) -> list[int]:
        """`content` as the one message of a user, up to where the model's answer begins."""
        before, plain, after = self._template
        ids = self._template_ids(self._rendered(content))
        own = [*self._specials(before), *self._specials(after)]
        if self._specials(ids) == own:
            return ids
        # The message spells out a special token: what lies between the template's own ones is
        # tokenised as text.
        return [*before, *self.text(plain.replace(_CONTENT, content), first=False), *after]

    @cached_property
    def _template(self) -> tuple[list[int], str, list[int]]:
        """The template up to its last special token before the message, the text between that and
        the first one behind the message, and the rest."""
        before, found, after = self._rendered(_CONTENT).partition(_CONTENT)
        if not found:
            raise UserError(
                self._name,
                "has a chat template that does not show a user's message as it is",
                "set llm.form to completion",
            )
        starts = [before.rfind(token) + len(token) for token in self._special if token in before]
        ends = [after.find(token) for token in self._special if token in after]
        start, end = max(starts, default=0), min(ends, default=len(after))
        plain = before[start:] + _CONTENT + after[:end]
        return self._template_ids(before[:start]), plain, self._template_ids(after[end:])

    def _rendered(self, content: str) -> str:
        """Models that think aloud before they answer are told not to, where their template can."""
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
                "set llm.form to completion",
            ) from fault
        return rendered

    def _template_ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _specials(self, ids: list[int]) -> list[int]:
        known = set(self._special.values())
        return [number for number in ids if number in known]
