"""One line of a first recipe."""

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """A key of the recipe, or a whole section, its value, and why it has it."""

    key: str
    value: Any
    why: str
