"""How many documents to hold out of a corpus, so that a student can be measured on them without a
label: for a first recipe, and for a run whose recipe names no evaluation task."""

import math

from distill.generate.known_item.items import LEAST_ITEMS

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


def choose_held_out(searchable: int) -> float | None:
    """Choose the share of documents to hold out, so that twice as many as the least number of
    queries may be expected; None where that would be more than a third.

    >>> choose_held_out(10_000), choose_held_out(300), choose_held_out(100)
    (0.1, 0.2, None)
    """
    if searchable < LEAST_SEARCHABLE:
        return None
    return max(HELD_OUT, math.ceil(100 * _EXPECTED / searchable) / 100)
