"""Read the metadata at the head of a model card (README.md), and the licence that files state."""

import re
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.read import parse_path, read_text
from distill.files.read_yaml import parse_yaml
from distill.models.gguf_head import read_gguf_text
from distill.models.sources.wheel import find_in_cache, parse_wheel

_HEAD = re.compile(r"\A\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


def read_card(folder: Path) -> dict[str, Any]:
    """Read the keys and values of the card's head; empty without a readable card, which never
    changes what a model computes."""
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


def find_licence(reference: str) -> str | None:
    """Find the licence that a model's card, or the GGUF file itself, states. None where it states
    none, or where the model is neither a file or folder nor a wheel that was fetched before:
    nothing is fetched to look.

    Raises:
        UserError: if the reference is of a wheel and not well-formed.
    """
    path: Path | None = parse_path(reference)
    if reference.startswith("wheel:"):
        path = find_in_cache(parse_wheel(reference))
    if path is None or not path.exists():
        return None
    return read_licence(path) if path.is_dir() else read_gguf_text(path, "general.license")
