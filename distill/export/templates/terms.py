"""Splits a text into the terms of bm25.npz, as they were split when it was made (terms.json).

It stands alone: `regex` comes with transformers; PyStemmer is needed where terms.json names a
language.
"""

import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import regex

_SETTINGS: dict[str, Any] = json.loads(
    Path(__file__).with_name("terms.json").read_text(encoding="utf-8")
)
_TERM = regex.compile(_SETTINGS["pattern"], regex.V1)
_LEFT_OUT = frozenset(_SETTINGS["stop_words"])


def split_terms(text: str) -> list[str]:
    """Split a text into words regardless of case and width; of a run of letters without spaces the
    overlapping groups of 2 (Chinese, Japanese) or 3 (Thai, Khmer, Burmese)."""
    terms: list[str] = []
    for term in _TERM.finditer(_fold(text)):
        if term["ideographs"]:
            terms += _split_run(term[0], _SETTINGS["letters_in_ideographs"])
        elif term["syllables"]:
            terms += _split_run(term[0], _SETTINGS["letters_in_syllables"])
        else:
            terms.append(term[0])
    if _SETTINGS["language"] is None:
        return terms
    stems: list[str] = _open_stemmer().stemWords([term for term in terms if term not in _LEFT_OUT])
    return stems


def _fold(text: str) -> str:
    """Fold case, width, ligatures and composition, and leave invisible characters out."""
    if text.isascii():
        return text.casefold()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = text.replace("\u200b", " ").replace("\u0640", "")
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def _split_run(run: str, size: int) -> list[str]:
    letters = regex.findall(r"\X", run)
    return ["".join(letters[i : i + size]) for i in range(max(1, len(letters) - size + 1))]


@cache
def _open_stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer(_SETTINGS["language"])
