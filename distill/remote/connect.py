"""Open connections to a server through the environment's proxy, trusting the environment's
certificates.

What httpx would only find out while it is built, or never says, is checked here and ends in words:
a proxy's address that is none, SOCKS without its module, a file of certificates that is not there.
This machine itself is never asked through a proxy.
"""

import importlib.util
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

import distill
from distill.errors import UserError
from distill.remote.address import Address, parse_address

_SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True)
class Proxy:
    """A proxy. `variable` is the environment variable that names it; the address may hold a
    password and is not shown."""

    variable: str
    url: str
    shown: str


class Connections:
    """Opens connections to one server.

    Raises:
        UserError: if what the environment says of proxies or certificates cannot be used.
    """

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self.proxy = find_proxy(address)
        self._tls = _make_tls_context(address)
        self._headers = {
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"distill/{distill.__version__}",
            **headers,
        }

    def open(self) -> httpx.AsyncClient:
        """Open one connection. It has no timeouts of its own: the caller's deadline is the whole
        request's."""
        return httpx.AsyncClient(
            headers=self._headers,
            verify=self._tls,
            proxy=self.proxy.url if self.proxy else None,
            timeout=None,
            limits=httpx.Limits(max_connections=1),
            trust_env=False,
        )


def check_environment(url: str) -> None:
    """Check proxies and certificates of the environment for a library that opens its own
    connections to `url`.

    Raises:
        UserError: if the environment names a proxy or certificates that cannot be used.
    """
    address = parse_address(url, "the address of {}".format)
    find_proxy(address)
    _make_tls_context(address)


def find_proxy(address: Address) -> Proxy | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names for a server, or None.

    Raises:
        UserError: if it cannot be used.
    """
    if address.is_local:
        return None
    named = getproxies()
    scheme = address.scheme if named.get(address.scheme) else "all"
    url = named.get(scheme)
    if not url or proxy_bypass(address.host):
        return None
    variable = _find_variable(scheme)
    url = url if "://" in url else f"http://{url}"
    return Proxy(variable, url, _check_proxy(variable, url, address.host))


def _check_proxy(variable: str, url: str, host: str) -> str:
    """Return the proxy's address as it may be shown, without user and password."""
    around = f"unset {variable}, or add {host} to NO_PROXY"
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        httpx.Proxy(url)
        (parts.hostname or "").encode("idna")
        good = parts.scheme in _SCHEMES and bool(parts.hostname) and not set(url) & {*" \t\n"}
    except (ValueError, httpx.InvalidURL):  # UnicodeError too
        good = False
    if not good:
        raise UserError(
            variable,
            "names what is no proxy (http, https, socks5 or socks5h, a host and a port)",
            f"write it like http://proxy.example:3128; {around}",
        ) from None
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UserError(
            variable,
            f"names a SOCKS proxy ({place}), for which the module socksio is not installed",
            f"pip install 'httpx[socks]'; {around}",
        )
    return f"{parts.scheme}://{place}"


def _find_variable(scheme: str) -> str:
    """Return the name of a proxy's environment variable; the lower-case one comes first."""
    lower = f"{scheme}_proxy"
    return lower if os.environ.get(lower) else lower.upper()


def _make_tls_context(address: Address) -> ssl.SSLContext:
    """Make the TLS context; none for an address without TLS."""
    if address.scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and costs nothing
    try:
        return httpx.create_ssl_context()
    except OSError as fault:  # ssl.SSLError too
        named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        places = ", ".join(f"{name}={os.environ[name]}" for name in named)
        raise UserError(
            places or "certificates",
            f"cannot be read as certificates of whom to trust ({fault})",
            f"set {' and '.join(named) or 'SSL_CERT_FILE'} to a file in PEM form, or unset it",
        ) from None
