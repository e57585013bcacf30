"""What every section of a recipe has in common."""

from collections.abc import Collection
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)

    newer: ClassVar[frozenset[str]] = frozenset()
    """Keys that were added after there were runs. At its default such a key is no part of a
    fingerprint, so that a run made before it goes on."""

    def fingerprinted(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """The section's keys and values as a stage's settings hold them."""
        fields = type(self).model_fields
        found: dict[str, Any] = {}
        for name, value in self.model_dump(exclude=set(exclude)).items():
            inner = getattr(self, name)
            if name in self.newer and inner == fields[name].get_default(call_default_factory=True):
                continue
            found[name] = inner.fingerprinted() if isinstance(inner, Section) else value
        return found
