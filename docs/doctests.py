"""An extension of griffe, which reads docstrings for the site: doctest examples within a text are
shown as code. Markdown would take `>>>` for a quotation."""

from typing import Any

import griffe


class FenceDoctests(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **options: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fence_doctests(obj.docstring.value)


def fence_doctests(text: str) -> str:
    """Put a fence around each paragraph that begins with `>>>`."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        f"```pycon\n{paragraph}\n```" if paragraph.startswith(">>> ") else paragraph
        for paragraph in paragraphs
    )
