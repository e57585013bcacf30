"""Split a text into sentences, in every script."""

from collections.abc import Iterator

import regex

_ENDS = r"[\p{Sentence_Terminal}\u0f0d-\u0f12--[.!?\u2024]]"
"""Marks that end a sentence whatever follows them; Tibetan's are none of Unicode's property, and
`․` is a full stop in disguise."""
_CLOSING = r"[\p{Pe}\p{Pf}\"'”’]"
_END = regex.compile(
    # A Latin mark, space, no small letter; but Greek ones begin names (α-tubulin).
    r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[[\p{L}\p{N}]--[\p{Ll}--\p{Greek}]])"
    # A mark of another script, unless more of them follow, or it stands between digits (３．５).
    rf"|(?<={_ENDS})(?<!\p{{N}}．(?=\p{{N}}))(?!\s*(?:{_ENDS}|[.!?])){_CLOSING}*+\s*"
    r"|\n\s*\n",
    regex.V1,
)
_ABBREVIATION = regex.compile(
    r"(?:\b(?:e\.g|i\.e|cf|et al|vs|viz|resp|approx|ca|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|No|Nos|Fig|Figs|"
    r"Eq|Eqs|Ref|Refs|Sec|Ch|Vol|pp|p|ed|eds|Inc|Ltd|Co|U\.S|U\.K)|\b[A-Z]|(?:\b[A-Z]\.)+[A-Z])\.$"
)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences in order, without the white space between them.

    A sentence ends at `.`, `!` or `?` before white space and anything but a small letter, unless
    the mark belongs to a common abbreviation or an initial; at a mark of another script (`。`, `।`,
    `؟`) with the brackets and quotes behind it; and at an empty line.
    """
    return [text[start:end] for start, end in find_sentence_spans(text)]


def find_sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Find where the sentences begin and end."""
    start = 0
    for end in _END.finditer(text):
        if "\n\n" not in end[0] and _ABBREVIATION.search(text, start, end.start()):
            continue
        yield from _strip(text, start, end.start() + len(end[0].rstrip()))
        start = end.end()
    yield from _strip(text, start, len(text))


def _strip(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Strip white space at the ends of a span; None if nothing is left."""
    sentence = text[start:end]
    if sentence.strip():
        start += len(sentence) - len(sentence.lstrip())
        yield start, start + len(sentence.strip())
