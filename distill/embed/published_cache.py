"""Keep on disk what was read from mteb of a published model: mteb describes a thousand models in
code, and to import all of it for one of them takes seconds of every command."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.files.atomic import commit_bytes, read_json
from distill.files.checksums import digest_bytes
from distill.models.sources.cache import get_cache_folder
from distill.runtime.versions import read_versions
from distill.store.stage import fingerprint

_RULES = 1
"""Raised whenever something else is read from the same mteb."""


def read_or_look_up(name: str, look_up: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Return the settings of a model, as JSON has them: those that are kept of the installed mteb,
    or else those that `look_up` returns, which are kept from then on. A cache that cannot be
    written, and a file in it that is damaged, cost time alone."""
    mark = {"name": name, "mteb": read_versions().get("mteb"), "rules": _RULES}
    path = get_cache_folder() / "published" / f"{fingerprint('published', mark, {})}.json"
    kept = _read(path)
    if kept is not None:
        return kept
    settings = look_up(name)
    text = json.dumps({"sha256": _digest(settings), "settings": settings}, ensure_ascii=False)
    with contextlib.suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        commit_bytes(path, text.encode())
    return settings


def _read(path: Path) -> dict[str, Any] | None:
    """Read what is kept; None where nothing is, or it is not what was written."""
    try:
        kept = read_json(path)
        settings: dict[str, Any] = kept["settings"]
        return settings if kept["sha256"] == _digest(settings) else None
    except (OSError, UserError, LookupError, TypeError):
        return None


def _digest(settings: dict[str, Any]) -> str:
    return digest_bytes(json.dumps(settings).encode())
