"""Split a text into the terms that BM25 compares, in every script."""

import importlib.util
from collections.abc import Callable
from typing import Any

import regex
from bm25s import stopwords

from distill.errors import UserError
from distill.text.normalize import fold_text
from distill.text.words import IDEOGRAPH, RUN, SYLLABLE

TermSplitter = Callable[[str], list[str]]

TERMS_RULE = 2
"""Raised whenever other terms are made of the same text: no index of others is opened, and what was
found by others is found again. 2: scripts without spaces, folded width and composition."""

_TERM = regex.compile(
    rf"(?P<ideographs>(?:(?={IDEOGRAPH})\X)+)|(?P<syllables>(?:(?={SYLLABLE})\X)+)|{RUN}",
    regex.V1,
)
_LETTER = regex.compile(r"\X")
_IN_IDEOGRAPHS, _IN_SYLLABLES = 2, 3
"""Letters of a term. On XQuAD nDCG@10 is for Chinese 0.953 by single letters, 0.961 by two, 0.880
by three; for Thai 0.852, 0.964 and 0.967."""


def split_terms(text: str) -> list[str]:
    """Split a text into terms: words regardless of case, width and invisible joiners; of a run of
    letters without spaces the overlapping pairs (Chinese, Japanese), or triples (Thai, Khmer,
    Burmese). None is left out or stemmed; frequent ones weigh next to nothing anyway."""
    terms_in_order: list[str] = []
    for term in _TERM.finditer(fold_text(text)):
        if term["ideographs"]:
            terms_in_order += _make_grams(term[0], _IN_IDEOGRAPHS)
        elif term["syllables"]:
            terms_in_order += _make_grams(term[0], _IN_SYLLABLES)
        else:
            terms_in_order.append(term[0])
    return terms_in_order


def make_term_splitter(language: str | None) -> TermSplitter:
    """Split a text into `terms`; in a language with a stemmer, into stems without stop words.

    Raises:
        UserError: if the stemmer is not installed.
    """
    if language is None:
        return split_terms
    stem, left_out = _open_stemmer(language), _list_stop_words(language)

    def split_stems(text: str) -> list[str]:
        return stem([term for term in split_terms(text) if term not in left_out])

    return split_stems


def describe_terms(language: str | None) -> dict[str, Any]:
    """Describe as JSON how `make_term_splitter` splits a text, for programs without distill."""
    return {
        "language": language,
        "stop_words": sorted(_list_stop_words(language)) if language else [],
        "pattern": _TERM.pattern,
        "letters_in_ideographs": _IN_IDEOGRAPHS,
        "letters_in_syllables": _IN_SYLLABLES,
        "rule": TERMS_RULE,
    }


def _make_grams(run: str, size: int) -> list[str]:
    letters = _LETTER.findall(run)
    return ["".join(letters[i : i + size]) for i in range(max(1, len(letters) - size + 1))]


def _open_stemmer(language: str) -> Callable[[list[str]], list[str]]:
    if importlib.util.find_spec("Stemmer") is None:
        raise UserError(
            "retriever.bm25.language",
            "needs PyStemmer, which is not installed in this environment",
            "pip install 'PyStemmer>=3.1', or take the language out",
        )
    import Stemmer

    stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer(language).stemWords
    return stem


def _list_stop_words(language: str) -> frozenset[str]:
    name = "EN" if language == "english" else language.upper()
    return frozenset(map(fold_text, getattr(stopwords, f"STOPWORDS_{name}", ())))
