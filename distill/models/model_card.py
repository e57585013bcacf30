"""What the head of a model's card (README.md) says of it."""

import re
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.read import read_text
from distill.files.read_yaml import parse_yaml

_HEAD = re.compile(r"\A\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


def read_card(folder: Path) -> dict[str, Any]:
    """The keys and values of the card's head; empty where there is no card, or none to be read: a
    card is no part of what a model computes."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    try:
        head = _HEAD.match(read_text(card).replace("\r\n", "\n"))
        values = parse_yaml(head[1], str(card)) if head else None
    except UserError:
        return {}
    return values if isinstance(values, dict) else {}


def read_licence(folder: Path) -> str | None:
    """Read the licence that a model's card states; None without a card, or without a licence."""
    head = read_card(folder)
    licence = head.get("license")
    return None if licence is None else str(head.get("license_name", licence))
