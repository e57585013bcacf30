"""Explain that a model needs code which came with it: such code is never run, and the libraries'
advice to trust it is replaced."""

import json
import re
from pathlib import Path

_ABOUT_CODE = ("trust_remote_code", "custom code")
_CLASS = re.compile(r"module class '([\w.]+)'")


def find_needed_code(folder: Path, fault: Exception) -> str | None:
    """Describe, with the model's class or type, a library's fault that asks to trust a model's
    code; None for any other fault.

    Args:
        folder: where the transformer's config.json lies.
    """
    message = str(fault)
    if not any(words in message for words in _ABOUT_CODE):
        return None
    named = _CLASS.search(message)
    kind = named[1] if named else _read_model_type(folder)
    return f"needs code that came with it ({kind}), which is never run"


def _read_model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, LookupError, TypeError):
        return "config.json"
