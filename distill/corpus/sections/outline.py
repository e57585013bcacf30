"""A text in sections: each with the headings above it."""

from typing import NamedTuple


class TextSection(NamedTuple):
    """Text below the same headings, outermost first; the document's title is the first of them."""

    headings: tuple[str, ...]
    text: str


class Outline:
    """Collects blocks of text under a stack of headings, with a title above all of them."""

    def __init__(self, title: str = "") -> None:
        self.sections: list[TextSection] = []
        self._stack: list[tuple[int, str]] = [(0, title)] if title else []
        self._blocks: list[str] = []

    def add(self, block: str) -> None:
        """Add a block of text to the section under way."""
        self._blocks.append(block)

    def open(self, level: int, heading: str) -> None:
        """Begin a section below the nearest heading of a higher level."""
        self.close()
        heading = " ".join(heading.split())
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        if heading and not (self._stack and self._stack[-1][1] == heading):
            self._stack.append((level, heading))

    def close(self) -> None:
        """End the section under way; one without text is left out."""
        text = "\n\n".join(block.strip() for block in self._blocks if block.strip())
        if text:
            self.sections.append(TextSection(tuple(name for _, name in self._stack), text))
        self._blocks = []
