"""Ask an OpenAI-compatible server, once and quickly, which models it has."""

from http import HTTPStatus
from typing import TYPE_CHECKING

from distill.errors import UserError
from distill.remote.address import parse_address
from distill.remote.key import read_key
from distill.remote.settings import ServerSettings

if TYPE_CHECKING:
    import httpx

_PATIENCE = 5.0
"""Seconds that a server may take to list its models."""
_REFUSED = (401, 403)


def list_served_models(settings: ServerSettings, patience: float = _PATIENCE) -> list[str] | None:
    """List the models of a server; None where it answers, but does not list them.

    Args:
        settings: the server's address and key.
        patience: seconds to wait for it.

    Raises:
        UserError: if nobody answers there, or the key is refused.
    """
    import httpx  # nothing that asks no server needs it

    from distill.remote.connect import find_proxy

    address = parse_address(settings.base_url or "", settings.name_key)
    key = read_key(settings.api_key_variable, settings.api_key_header)
    proxy = find_proxy(address)
    url = address.join("/models")
    try:
        reply = httpx.get(
            url,
            headers=key.header,
            timeout=patience,
            proxy=proxy.url if proxy else None,
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as fault:
        raise UserError(
            f"{settings.name_key('base_url')} {address.base}",
            f"no server answers there ({type(fault).__name__})",
            "start the server, or fix the address",
        ) from None
    if reply.status_code in _REFUSED:
        raise UserError(
            f"{settings.name_key('base_url')} {address.base}",
            f"the server refuses the key (HTTP {reply.status_code})",
            f"set the environment variable {settings.api_key_variable} to a key that it accepts",
        )
    return _read_names(reply)


def _read_names(reply: "httpx.Response") -> list[str] | None:
    """Read the ids of the server's list; None where the reply is no such list."""
    try:
        models = reply.json()["data"] if reply.status_code == HTTPStatus.OK else None
        return None if models is None else [str(model["id"]) for model in models]
    except (ValueError, KeyError, TypeError):
        return None
