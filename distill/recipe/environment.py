"""Environment variables in a recipe: `${NAME}` stands for one, but not where a secret might be."""

import os
import re
from typing import Any

from distill.errors import UserError

_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")


def refuse_secrets(values: Any, where: str, path: str = "") -> None:
    """Refuse variables where a key might be put: a run keeps its recipe and its manifests.

    Raises:
        UserError: naming the key of the recipe.
    """
    if isinstance(values, dict):
        for key, inner in values.items():
            refuse_secrets(inner, where, f"{path}.{key}".strip("."))
    elif isinstance(values, list):
        for inner in values:
            refuse_secrets(inner, where, path)
    elif isinstance(values, str) and _VARIABLE.search(values):
        if path.endswith(".api_key_variable"):
            remedy = f"write the name alone, without ${{}}: {_VARIABLE.findall(values)[0]}"
            raise UserError(where, f"{path} holds the key in place of a variable's name", remedy)
        if "extra_body." in f"{path}.":
            remedy = "give the key by api_key_variable: what stands here is written into the run"
            raise UserError(where, f"{path} reads an environment variable", remedy)


def read_environment(value: Any) -> Any:
    """Replace `${NAME}`; a value that names a variable that is not set becomes null, so that
    `path: ${DISTILL_DATA}/...` falls back to the hub."""
    if isinstance(value, dict):
        return {key: read_environment(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [read_environment(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if any(not os.environ.get(name) for name in _VARIABLE.findall(value)):
        return None
    return _VARIABLE.sub(lambda match: os.environ[match.group(1)], value)
