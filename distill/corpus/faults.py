"""Faults of a file's rows, collected, so that a person mends them all at once."""

from distill.errors import UserError

_SHOWN = 5


class RowFaults:
    """Counts faults and keeps the first few."""

    def __init__(self) -> None:
        self._first: list[UserError] = []
        self._count = 0

    def add(self, fault: UserError) -> None:
        self._count += 1
        if len(self._first) < _SHOWN:
            self._first.append(fault)

    def raise_any(self) -> None:
        """
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
