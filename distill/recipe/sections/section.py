"""The base of every section of a recipe, and the kinds of values that several sections have."""

import re
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from distill.object_store.address import is_store_address, parse_address
from distill.recipe.renamed_keys import fingerprint_name

_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?|mps")


def _check_device(device: str) -> str:
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"{device[:40]!r} is no device: write cpu, cuda, cuda:1 or mps")
    return device


Device = Annotated[str, AfterValidator(_check_device)]
"""The form alone: whether the machine has it is for `devices.choose_device` to say."""


def _check_local(path: str) -> str:
    scheme, colon, _ = path.partition("://")
    if colon:  # the rest is not repeated: it may hold a password
        raise ValueError(
            f"{scheme[:20]}://... is an address: name a file or folder of this machine"
        )
    return path


def _check_store(address: str) -> str:
    return str(parse_address(address))


def _check_local_or_stored(path: str) -> str:
    return _check_store(path) if is_store_address(path) else _check_local(path)


StoreUrl = Annotated[str, AfterValidator(_check_store)]
"""A prefix in an object store."""
LocalPath = Annotated[str, AfterValidator(_check_local)]
InputPath = Annotated[str, AfterValidator(_check_local_or_stored)]
"""A path of this machine, or an address in an object store."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy and torch both take."""
Width = Annotated[int, Field(gt=0)]
Word = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """The base of the recipe's sections. Numbers are finite and of 64 bits, and true is no number,
    although pydantic by itself takes it for 1."""

    model_config = ConfigDict(
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    section: ClassVar[str | None] = None
    """Its key in the recipe; None for a section within another one, and for options of commands."""
    newer: ClassVar[frozenset[str]] = frozenset()
    """Keys that were added after there were runs. At its default such a key is no part of a
    fingerprint, so that a run made before it goes on."""

    def list_fingerprinted(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """Return the section's keys and values for a stage's settings. A renamed key has its first
        name, so that runs made before continue."""
        fields = type(self).model_fields
        settings: dict[str, Any] = {}
        for name, value in self.model_dump(exclude=set(exclude)).items():
            inner = getattr(self, name)
            if name in self.newer and inner == fields[name].get_default(call_default_factory=True):
                continue
            key = fingerprint_name(self.section, name)
            if isinstance(inner, list) and inner and isinstance(inner[0], Section):
                value = [one.list_fingerprinted() for one in inner]
            settings[key] = inner.list_fingerprinted() if isinstance(inner, Section) else value
        return settings

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values_as_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[str(info.field_name)].annotation
        if _is_of_numbers(wanted) and any(isinstance(one, bool) for one in _list_scalars(value)):
            raise ValueError("true or false stands where a number is expected")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _refuse_endless_numbers(cls, value: Any) -> Any:
        if any(isinstance(one, int) and abs(one) >= 2**63 for one in _list_scalars(value)):
            raise ValueError("a number beyond 64 bits")
        return value


def _is_of_numbers(annotation: Any) -> bool:
    """Return whether a field holds numbers, maybe in lists or mappings, and no truth values."""
    if not get_args(annotation):
        return annotation in (int, float)
    return any(_is_of_numbers(part) for part in get_args(annotation)) and bool not in get_args(
        annotation
    )


def _list_scalars(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [one for inner in value for one in _list_scalars(inner)]
    return [value]
