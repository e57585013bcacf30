"""Read the stages of a run from its store, before the run is opened."""

import json
from typing import Any

from distill.object_store.address import parse_address
from distill.object_store.copy_in import MANIFEST
from distill.object_store.objects import ObjectFolder


def list_stages(address: str) -> set[str]:
    """List the names of the stages that a store holds, begun or complete.

    Raises:
        UserError: if the store cannot be read.
    """
    names = (one.name for one in ObjectFolder(parse_address(address)).list())
    return {name.removesuffix(MANIFEST) for name in names if name.endswith(MANIFEST)}


def read_stored_manifest(address: str, stage: str) -> dict[str, Any] | None:
    """Read the manifest of a stage in a store; None if the store has no such stage.

    Raises:
        UserError: if the store cannot be read.
    """
    content = ObjectFolder(parse_address(address)).read(f"{stage}{MANIFEST}")
    return None if content is None else dict(json.loads(content[0]))
