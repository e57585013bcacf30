"""Addresses in object stores, such as s3://bucket/runs/mine. They hold no credentials: those come
from the environment."""

import re
from typing import NamedTuple

_FORM = re.compile(r"(s3|gs|az)://([A-Za-z0-9][A-Za-z0-9._-]{1,62})(?:/(.*))?", re.DOTALL)
_SCHEMES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
"""Schemes, and how the names of their environment variables begin."""


class StoreAddress(NamedTuple):
    """A prefix in a bucket of S3 (`s3`), of Google Cloud Storage (`gs`), or in a container of Azure
    Blob Storage (`az`)."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def variables(self) -> str:
        """How the names of the environment variables begin that hold its credentials."""
        return _SCHEMES[self.scheme]


def is_store_address(text: str) -> bool:
    """Return whether a text begins as an address in an object store does."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme in _SCHEMES


def parse_address(text: str) -> StoreAddress:
    """Read an address.

    Raises:
        ValueError: for another scheme, a bucket that can be none, credentials, and what cannot be
            part of a name. The address is not repeated: it may hold a password.
    """
    match = _FORM.fullmatch(text)
    if match is None or "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError(
            "is no address in an object store: write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "az://CONTAINER/PREFIX, without credentials, which come from the environment"
        )
    prefix = (match[3] or "").strip("/")
    parts = prefix.split("/") if prefix else []
    if not prefix:
        raise ValueError(f"is a whole bucket: name a part of it, {match[1]}://BUCKET/PREFIX")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\x00-\x1f\x7f?#]", prefix):
        raise ValueError("is an address with an empty part, . or .., ?, # or a control character")
    return StoreAddress(match[1], match[2], prefix)
