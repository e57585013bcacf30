"""The number of documents to hold out of a corpus, so that a student can be measured on them
without a label: for a first recipe, and for a run whose recipe names no evaluation task."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from distill.generate.known_item.items import LEAST_ITEMS
from distill.start.choice.setting import Setting

HELD_OUT = 0.1
"""Share that a corpus of many documents can spare."""
LEAST_DOCUMENTS = 200
"""Whole documents from which a tenth can be spared: some twenty, with a query each at least."""
QUERIES_IN_PROCESS = 30
"""Held-out queries whose answers an LLM on a CPU judges in an hour or so."""
_EXPECTED = 2 * LEAST_ITEMS
"""Held-out documents that give a query: as they are drawn by chance, some fewer may come."""
LEAST_SEARCHABLE = 3 * _EXPECTED
"""Documents with a title or sentence of their own, from which enough can be spared."""


class HoldOut(NamedTuple):
    """The share to hold out, and what is held out whole."""

    share: float
    by: Literal["document", "section"] = "document"


def choose_to_judge(whole_documents: int, sections: int) -> HoldOut | None:
    """Choose what to hold out for an LLM to ask about and judge: documents, or sections of them
    where documents are too few; None where these are, too."""
    if whole_documents >= LEAST_DOCUMENTS:
        return HoldOut(HELD_OUT)
    return HoldOut(HELD_OUT, "section") if sections >= LEAST_DOCUMENTS else None


def is_enough_to_judge(documents: int, share: float) -> bool:
    """Return whether a share that a recipe names leaves documents enough to ask about."""
    return documents * share >= LEAST_DOCUMENTS * HELD_OUT


def is_enough_to_search(searchable: int, share: float) -> bool:
    """Return whether a share that a recipe names leaves documents enough to search for."""
    return searchable * share >= _EXPECTED


def choose_to_search(searchable: int, sections: int) -> HoldOut | None:
    """Choose what to hold out and to search for: documents, or sections of them where documents are
    too few; None where these are, too."""
    share = choose_held_out(searchable)
    if share is not None:
        return HoldOut(share)
    share = choose_held_out(sections)
    return None if share is None else HoldOut(share, "section")


def list_hold_out(chosen: HoldOut) -> Iterator[Setting]:
    """List the keys of a recipe that hold out what was chosen."""
    yield Setting("corpus.held_out", chosen.share, "what nothing is learnt from, to measure on")
    if chosen.by == "section":
        yield Setting("corpus.hold_out_by", chosen.by, "few documents, of many sections")


def choose_held_out(searchable: int) -> float | None:
    """Choose the share of documents to hold out, so that twice as many as the least number of
    queries may be expected; None where that would be more than a third.

    >>> choose_held_out(10_000), choose_held_out(300), choose_held_out(100)
    (0.1, 0.2, None)
    """
    if searchable < LEAST_SEARCHABLE:
        return None
    return max(HELD_OUT, math.ceil(100 * _EXPECTED / searchable) / 100)
