"""Check the settings of a server before the first request."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from distill.errors import UserError
from distill.remote.address import parse_address
from distill.remote.key import check_header, check_variable


class ServerSettings(Protocol):
    """The settings of requests to a server; `name_key` gives the name of one in errors."""

    @property
    def base_url(self) -> str | None:
        """The address below which the endpoints are, such as http://localhost:8000/v1."""
        ...

    @property
    def api_key_variable(self) -> str:
        """The environment variable that holds the API key."""
        ...

    @property
    def api_key_header(self) -> str:
        """The header that the key is sent in."""
        ...

    @property
    def concurrency(self) -> int:
        """The most requests in flight."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds until a request is given up."""
        ...

    @property
    def retries(self) -> int:
        """How often a request is sent again after a fault that may pass."""
        ...

    def name_key(self, name: str) -> str:
        """Return the recipe's name of a setting, such as llm.base_url, for errors."""
        ...


def check_server(settings: ServerSettings) -> None:
    """Check the address, the key's variable and its header.

    Raises:
        UserError: if the address is none, or the key cannot be read or sent as it says. Not a
            ValueError: pydantic's message would show the address with the password in it.
    """
    check_variable(settings.api_key_variable, settings.name_key("api_key_variable"))
    check_header(settings.api_key_header, settings.name_key("api_key_header"))
    if settings.base_url is not None:
        parse_address(settings.base_url, settings.name_key)


def check_fields(
    named: Mapping[str, Mapping[str, Any]], settled: set[str], key: Callable[[str], str]
) -> None:
    """Check fields that a user adds to requests, such as `extra_body`.

    Args:
        named: the fields of each setting such as extra_body.
        settled: fields that other settings decide.
    """
    for name, fields in named.items():
        if both := sorted(settled & fields.keys()):
            raise UserError(
                key(name),
                f"holds {', '.join(both)}, which other settings decide",
                "take it out here",
            )
        try:
            json.dumps(fields, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as fault:
            raise UserError(
                key(name),
                f"holds what JSON cannot: {fault}",
                "write texts in quotes (a date is one too), and numbers that are finite",
            ) from None
