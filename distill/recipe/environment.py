"""Environment variables in a recipe: `${NAME}` stands for one, but not where a secret might be."""

import os
import re
from typing import Any

from distill.errors import UserError

_VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")


def read_environment(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Replace `${NAME}` in a recipe. A value that names a variable that is not set becomes null, so
    that `path: ${DISTILL_DATA}/...` falls back to the hub; but not `store`, whose lack would only
    show when the machine is lost.

    Raises:
        UserError: where a secret might be, or for the `store`, naming the variable.
    """
    _refuse_secrets(values, where)
    for name in _find_unset(values.get("store")):
        remedy = f"export {name}=..., or leave store out"
        raise UserError(where, f"store names the variable {name}, which is not set", remedy)
    replaced: dict[str, Any] = _replace(values)
    return replaced


def _refuse_secrets(values: Any, where: str, path: str = "") -> None:
    """Refuse variables where a key might be put: a run keeps its recipe and its manifests.

    Raises:
        UserError: naming the key of the recipe.
    """
    if isinstance(values, dict):
        for key, inner in values.items():
            _refuse_secrets(inner, where, f"{path}.{key}".strip("."))
    elif isinstance(values, list):
        for inner in values:
            _refuse_secrets(inner, where, path)
    elif isinstance(values, str) and _VARIABLE.search(values):
        if path.endswith(".api_key_variable"):
            remedy = f"write the name alone, without ${{}}: {_VARIABLE.findall(values)[0]}"
            raise UserError(where, f"{path} holds the key in place of a variable's name", remedy)
        if "extra_body." in f"{path}.":
            remedy = "give the key by api_key_variable: what stands here is written into the run"
            raise UserError(where, f"{path} reads an environment variable", remedy)


def _replace(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if _find_unset(value):
        return None
    return _VARIABLE.sub(lambda match: os.environ[match.group(1)], value)


def _find_unset(value: Any) -> list[str]:
    """Find the variables that a value names and that are not set, or empty."""
    names = _VARIABLE.findall(value) if isinstance(value, str) else []
    return [name for name in names if not os.environ.get(name)]
