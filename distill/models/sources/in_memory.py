"""Models that are objects of the running program: an `LLM` or an `Encoder` instead of a model
reference.

Such an object is known by a reference, `object:NAME-DIGEST`, which stands in the recipe where the
reference of a model would stand. The digest is of the object's `identity`, so a run that is
continued with another object is seen to be another run.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from distill.errors import UserError

_PREFIX = "object:"
_OBJECTS: dict[str, Any] = {}


def is_object(reference: str) -> bool:
    """Return whether a model reference stands for an object of the program."""
    return reference.startswith(_PREFIX)


def register_object(model: Any, members: Iterable[str], protocol: str) -> str:
    """Register an object under a reference; it replaces one of the same identity.

    Args:
        members: the attributes that the object must have.
        protocol: what declares them, for the error.

    Raises:
        UserError: if the object lacks one of them, or its identity is not a mapping of JSON.
    """
    kind = type(model).__name__
    missing = sorted(name for name in members if not hasattr(model, name))
    if missing:
        raise UserError(
            f"the object {kind}",
            f"has no {', '.join(missing)}",
            f"{protocol} says what each is; a model can also be named by its reference",
        )
    identity = model.identity
    try:
        text = json.dumps(dict(identity), sort_keys=True)
    except (TypeError, ValueError):
        raise UserError(
            f"the object {kind}",
            "has an identity that is not a mapping of names to texts and numbers",
            'give it one such as {"model": "my-model", "version": 2}',
        ) from None
    name = re.sub(r"[^\w.-]+", "-", str(identity.get("model", kind)), flags=re.ASCII)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    reference = f"{_PREFIX}{name}-{digest}"
    _OBJECTS[reference] = model
    return reference


def find_object(reference: str) -> Any:
    """Return the object that a reference stands for; None for other references.

    Raises:
        UserError: if the object was not passed to this process.
    """
    if not is_object(reference):
        return None
    if reference not in _OBJECTS:
        raise UserError(
            f"model {reference!r}",
            "is an object of the program that began this run, and was not passed to this one",
            "pass an object with the same identity, as in distill.run(recipe, llm=MyLLM()), or "
            "name a model",
        )
    return _OBJECTS[reference]


def identify_object(reference: str) -> dict[str, object]:
    """Return what changes the results of an object, for fingerprints."""
    identity: Mapping[str, object] = getattr(find_object(reference), "identity", {})
    return {"object": dict(identity)}
