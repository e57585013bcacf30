"""Rows that gave no document, told on screen; the table of what a stage dropped holds them all."""

import logging
from collections import Counter

_log = logging.getLogger(__name__)
_NAMED = 5


class SkippedRows:
    """Counts rows by reason and keeps the places of the first few."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        self._counts[reason] += 1
        places = self._places.setdefault(reason, [])
        if len(places) < _NAMED:
            places.append(place)

    def warn(self, where: str) -> None:
        """A line for each reason."""
        for reason, count in self._counts.items():
            named = [place.removeprefix(f"{where}, ") for place in self._places[reason]]
            more = ", ..." if count > len(named) else ""
            rows = "1 row" if count == 1 else f"{count} rows"
            _log.warning("%s: %s, %s: %s%s", where, rows, reason, ", ".join(named), more)
