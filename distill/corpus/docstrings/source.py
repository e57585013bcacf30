"""The docstrings of installed packages as a corpus, and, of objects held out of it, as retrieval
queries with their answers: the one-line summary asks, the rest of the docstring answers."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from distill.corpus.docstrings.introspect import find_public_objects, read_package_versions
from distill.corpus.docstrings.prose import extract_paragraphs
from distill.corpus.readers.rows import CorpusSource, Document
from distill.corpus.split import split_text
from distill.corpus.token_counts import open_token_count
from distill.recipe import Corpus
from distill.text.normalize import normalize_text
from distill.text.sentences import split_sentences
from distill.text.words import count_words

_MIN_QUERY_WORDS = 4
_MIN_ANSWER_WORDS = 20


class DocString(NamedTuple):
    """A public object's docstring as prose: its first sentence, and all of it."""

    name: str
    package: str
    summary: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The docstring's paragraphs as one text."""
        return " ".join(self.paragraphs)

    @property
    def rest(self) -> str:
        """The text without its first sentence."""
        return self.text.removeprefix(self.summary).strip()


class QueryDocument(NamedTuple):
    """A query and the document that answers it; `name` is the object both are of."""

    name: str
    query: str
    document: str


def open_docstrings(corpus: Corpus, seed: int) -> CorpusSource:
    """Open the docstrings that are not held out; id and title are the object's qualified name.

    Raises:
        UserError: if a package is not installed or cannot be read.
    """
    where = f"docstrings of {', '.join(corpus.packages)}"
    return CorpusSource(
        where,
        identify_docstrings(corpus, seed),
        lambda: _read(corpus, seed, held_out=False),
        lambda: _count_objects(corpus, seed),
        titles_are_prose=False,
    )


def open_held_out_docstrings(corpus: Corpus, seed: int) -> CorpusSource:
    """Open the docstrings that are held out, whole, as `open_docstrings` gives the others."""
    return CorpusSource(
        f"held-out docstrings of {', '.join(corpus.packages)}",
        identify_docstrings(corpus, seed),
        lambda: _read(corpus, seed, held_out=True),
        titles_are_prose=False,
    )


def identify_docstrings(corpus: Corpus, seed: int) -> dict[str, Any]:
    """Return what decides which docstrings there are, and which of them are held out."""
    identity: dict[str, Any] = {"packages": read_package_versions(tuple(corpus.packages))}
    if corpus.held_out_share:
        identity |= {"held_out": corpus.held_out_share, "seed": seed}
    return identity


def make_held_out_pairs(corpus: Corpus, seed: int) -> tuple[list[QueryDocument], Counter[str]]:
    """Make queries with answers from the held-out objects, and count what is left out.

    A pair is kept if its query has 4 words, its answer 20 and `corpus.min_words`, and neither
    occurred before; an answer is cut to `corpus.max_tokens`.
    """
    least = max(corpus.min_words, _MIN_ANSWER_WORDS)
    pairs: list[QueryDocument] = []
    counts: Counter[str] = Counter()
    queries, answers = set(), set()
    count = open_token_count(corpus)
    for thing in load_docstrings(tuple(corpus.packages))[0]:
        if not is_held_out(thing.summary, corpus.held_out_share, seed):
            continue
        counts["held out"] += 1
        answer = split_text(thing.rest, corpus.max_tokens, count)[0]
        if count_words(thing.summary) < _MIN_QUERY_WORDS or count_words(answer) < least:
            counts["dropped short"] += 1
        elif normalize_text(thing.summary) in queries or normalize_text(answer) in answers:
            counts["dropped duplicate"] += 1
        else:
            queries.add(normalize_text(thing.summary))
            answers.add(normalize_text(answer))
            pairs.append(QueryDocument(thing.name, thing.summary, answer))
    counts["kept"] = len(pairs)
    return pairs, counts


def is_held_out(summary: str, share: float, seed: int) -> bool:
    """Return whether an object is among the held-out share: by the seed and the summary alone, so
    that objects with one summary stay together."""
    content = f"{seed} {normalize_text(summary)}".encode()
    draw = int.from_bytes(hashlib.sha256(content).digest()[:8], "big") / 2**64
    return draw < share


@functools.lru_cache(maxsize=1)
def load_docstrings(packages: tuple[str, ...]) -> tuple[list[DocString], int]:
    """Load every public object with prose in its docstring, in order of package and name, and the
    count of modules that could not be imported."""
    objects, failed = find_public_objects(packages)
    texts = [(thing, tuple(extract_paragraphs(thing.doc))) for thing in objects]
    return [
        DocString(thing.name, thing.package, split_sentences(text[0])[0], text)
        for thing, text in texts
        if text
    ], failed


def _count_objects(corpus: Corpus, seed: int) -> Counter[str]:
    things, failed = load_docstrings(tuple(corpus.packages))
    held_out = sum(is_held_out(thing.summary, corpus.held_out_share, seed) for thing in things)
    return Counter({"held out": held_out, "modules not importable": failed})


def _read(corpus: Corpus, seed: int, held_out: bool) -> Iterator[Document]:
    for thing in load_docstrings(tuple(corpus.packages))[0]:
        if is_held_out(thing.summary, corpus.held_out_share, seed) == held_out:
            yield Document(thing.name, thing.name, thing.text, thing.package)
