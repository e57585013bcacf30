"""Faulty and skipped rows of a file, collected, so that a person sees all of them at once."""

import logging
from collections import Counter

from distill.errors import UserError

_log = logging.getLogger(__name__)
_SHOWN = 5


class RowFaults:
    """Counts faults and keeps the first few."""

    def __init__(self) -> None:
        self._first: list[UserError] = []
        self._count = 0

    def add(self, fault: UserError) -> None:
        """Count a fault; the first few are shown in full."""
        self._count += 1
        if len(self._first) < _SHOWN:
            self._first.append(fault)

    def raise_any(self) -> None:
        """Raise the faults that were counted, if any.

        Raises:
            UserError: if there is a fault: the first, and after it the next few and how many more
                there are.
        """
        if not self._first:
            return
        first, *others = self._first
        lines = [first.what, *(f"  {fault.where}: {fault.what}" for fault in others)]
        if self._count > _SHOWN:
            lines.append(f"  and {self._count - _SHOWN} more rows")
        remedies = dict.fromkeys(fault.remedy for fault in self._first)
        raise UserError(first.where, "\n".join(lines), "; ".join(remedies))


class SkippedRows:
    """Counts rows by reason and keeps the places of the first few."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        """Count a skipped row under its reason; the first few places are shown."""
        self._counts[reason] += 1
        places = self._places.setdefault(reason, [])
        if len(places) < _SHOWN:
            places.append(place)

    def warn(self, where: str) -> None:
        """Log a line for each reason."""
        for reason, count in self._counts.items():
            named = [place.removeprefix(f"{where}, ") for place in self._places[reason]]
            more = ", ..." if count > len(named) else ""
            rows = "1 row" if count == 1 else f"{count} rows"
            _log.warning("%s: %s, %s: %s%s", where, rows, reason, ", ".join(named), more)
