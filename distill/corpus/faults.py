"""Faulty and skipped rows of a file, collected, so that a person sees all of them at once."""

import logging
from collections import Counter
from collections.abc import Iterator

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
    """Counts rows, or files, by reason and keeps the places of the first few."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._places: dict[tuple[str, str], list[str]] = {}

    @property
    def count(self) -> int:
        """How many were skipped, whatever the reason."""
        return self._counts.total()

    def has(self, reason: str) -> bool:
        """Return whether anything was skipped for a reason."""
        return any(of == reason for of, _ in self._counts)

    def add(self, reason: str, place: str, unit: str = "row") -> None:
        """Count a skipped row, or another unit, under its reason; the first few places are
        shown."""
        self._counts[reason, unit] += 1
        places = self._places.setdefault((reason, unit), [])
        if len(places) < _SHOWN:
            places.append(place)

    def describe(self, where: str) -> Iterator[str]:
        """Say of each reason how many and which: `2 files, no text: a.pdf, b.md`.

        Args:
            where: the file or folder that they lie in, which is not said again for each.
        """
        for (reason, unit), count in self._counts.items():
            places = self._places[reason, unit]
            named = [
                place.removeprefix(f"{where}, ").removeprefix(f"{where}/").replace(", row", " row")
                for place in places
            ]
            more = ", ..." if count > len(named) else ""
            units = f"{count:,} {unit}{'' if count == 1 else 's'}"
            yield f"{units}, {reason}: {', '.join(named)}{more}"

    def warn(self, where: str) -> None:
        """Log a line for each reason."""
        for line in self.describe(where):
            _log.warning("%s: %s", where, line)
