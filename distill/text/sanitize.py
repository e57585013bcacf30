"""Cleaning of texts from outside, for a terminal and for a prompt, and of LLM replies."""

import re

from distill.text.words import cut_words

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Bytes that a terminal obeys, and what turns the direction of a line."""

_FENCED = re.compile(r"\A\s*```[ \t]*\w*[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)

_LETTERS_PER_WORD = 12
"""Twice the English mean: bounds an endless word."""

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls that are not white space
    "\u00ad\u034f\u061c\u115f\u1160\u3164\uffa0"  # soft hyphen, fillers
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"  # zero width, bidi controls
    "\ufe00-\ufe0f\U000e0000-\U000e0fff"  # variation selectors, tags
    "\ud800-\udfff]"  # halves of surrogate pairs, which no file can hold
)

_STRAY_JOINER = re.compile(
    "(?<![^\x00-\x7f\\s\u200c\u200d\u180b-\u180f\uff1c\uff1e\uff5c\u2581])"
    "[\u200c\u200d\u180b-\u180f]"
)
"""Joiners and their like are letters of Persian, Sinhala, Malayalam, Mongolian and others, where
one stands behind a letter that is not ASCII; elsewhere they hide something."""

_TAG_NAMES = (
    r"s|bos|eos|eod|pad|unk|mask(?::\d+)?|cls|sep|sop|eop|eo[ham]|think(?:ing)?|reasoning|answer"
    r"|system|sys|user|assistant|human|bot|model|tools?|instructions?|image|video|audio"
    r"|(?:im|fim|seed|tool|vision|object|box|reserved|special|tokens|unused|extra|start|end|begin"
    r"|jupyter|repo|file|issue|commit|gh|minimax|hy)[_:]?\w*"
    r"|\w+_(?:of_\w+|start|end|begin|prefix|suffix|middle|sep|calls?|responses?|results?|token)"
    r"|\w*▁\w*|0x[0-9a-f]{2}"
)
_BRACKETED = (
    r"inst|[gs]mask|cls|sep|pad|unk|mask|bos|eos|img|think"
    r"|\w+_(?:prompt|tools|calls|results|content|end|start|break)"
)
_TEMPLATE_TOKENS = re.compile(
    r"[<＜\[\]](?:"  # a set first: text without brackets is passed over quickly
    r"(?<=[<＜])(?:"
    r"(?=[|｜])"  # <|im_end|> and its like
    rf"|(?=[/／]?(?:{_TAG_NAMES})[>＞])"  # </s>, <bos>, <start_of_turn>, <think>
    r"|(?=</?sys>)"  # <<SYS>>
    r")"
    rf"|(?<=\[)(?=/?(?:{_BRACKETED})\]|\||e~\[)"  # [/INST], [TOOL_CALLS], [|user|], [e~[
    r"|(?<=\])(?=~!?b[\[\]]|<\])"  # ]~b], ]<]
    r")",
    re.IGNORECASE,
)


def sanitize_for_terminal(text: str) -> str:
    """Remove from an outside text what a terminal would take for a command."""
    return replace_controls(text, "\N{REPLACEMENT CHARACTER}")


def replace_controls(text: str, replacement: str) -> str:
    """Replace each control character, and each that changes a line's direction."""
    return _CONTROLS.sub(replacement, text)


def sanitize_for_prompt(text: str, max_words: int | None = None) -> str:
    """Prepare an outside text to stand on one line of a prompt.

    White space is collapsed, so that no line of the text can pass for one of the prompt; what
    cannot be seen (control, zero-width and bidirectional characters, but not the joiners that are
    letters) is taken out; and the tokens
    by which chat templates of any model tell speakers apart, such as `<|im_end|>`, `</s>`, `[INST]`
    or `<start_of_turn>`, are broken up by a space. Done twice it changes nothing more.

    Args:
        max_words: cut to this number of words, which are counted in scripts without spaces, too,
            and to 12 characters for each, so that no endless word outgrows a prompt's engine.
    """
    if max_words is not None:
        text = cut_words(text, max_words)[: max_words * _LETTERS_PER_WORD]
    cleaned = " ".join(_STRAY_JOINER.sub("", _INVISIBLE.sub("", text)).split())
    return _TEMPLATE_TOKENS.sub(r"\g<0> ", cleaned)


def strip_code_fence(text: str) -> str:
    """Return the inside of a code block that is the whole of `text`; any other text as it is."""
    fenced = _FENCED.match(text)
    return text if fenced is None or "```" in fenced[1] else fenced[1]
