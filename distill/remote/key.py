"""The API key of a server: read from the environment, sent in one header, never written.

A server that repeats the key in an error does so as it likes: as JSON writes it, as an address
writes it, within HTML, in base64. Whatever is shown or kept goes through `ApiKey.redact` first.
"""

import base64
import os
import re
from dataclasses import dataclass, field
from functools import cached_property

from distill.errors import UserError

_MASK = "[key]"
_LONGEST = 8192
"""Characters of a key; servers take no longer header."""
_BEGINNING = 12
"""Characters by which a text is looked through first: a pattern of a whole token takes seconds."""
_SHORTEST_SECRET = 8
"""Local servers take any word as a key, and a word may stand in what an LLM writes."""
_BEARER = "authorization"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TAKEN = {"host", "content-length", "content-type", "transfer-encoding", "connection", "cookie"}
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


@dataclass(frozen=True)
class ApiKey:
    """An API key, or none. Its repr does not hold it.

    Args:
        name: of the header that it is sent in; behind the word Bearer in `Authorization`, alone in
            any other (Azure's is `api-key`).
    """

    _secret: str = field(repr=False)
    name: str = "Authorization"

    def __bool__(self) -> bool:
        return bool(self._secret)

    @property
    def header(self) -> dict[str, str]:
        """The header that carries the key; empty without a key."""
        if not self._secret:
            return {}
        bearer = "Bearer " if self.name.lower() == _BEARER else ""
        return {self.name: bearer + self._secret}

    def redact(self, text: str) -> str:
        """Return a server's error text without the key, in whichever spelling it has there."""
        if not self._secret or not self._beginning.search(text):
            return text
        return self._pattern.sub(_MASK, text)

    def redact_written(self, text: str) -> str:
        """Return a server's reply without the key, if the key is long enough to be a secret."""
        return self.redact(text) if len(self._secret) >= _SHORTEST_SECRET else text

    @cached_property
    def _beginning(self) -> re.Pattern[str]:
        return _compile_spellings([form[:_BEGINNING] for form in self._forms])

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _compile_spellings(self._forms)

    @property
    def _forms(self) -> list[str]:
        if len(self._secret) < _SHORTEST_SECRET:
            return [self._secret]
        return [self._secret, *_list_base64_forms(self._secret), self._secret.encode().hex()]


def read_key(variable: str, name: str = "Authorization") -> ApiKey:
    """Read the key in an environment variable, for the header `name`.

    Raises:
        UserError: if it cannot be sent in a header. The message does not hold it.
    """
    secret = os.environ.get(variable, "").strip()
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise UserError(
            variable,
            "holds something that cannot be an API key: a blank or a character beyond ASCII",
            f"set {variable} to the key alone, on one line",
        )
    if len(secret) > _LONGEST:
        raise UserError(
            variable,
            f"holds {len(secret):,} characters, and no server takes a key of over {_LONGEST:,}",
            f"set {variable} to the key alone",
        )
    return ApiKey(secret, name)


def check_variable(variable: str, where: str) -> str:
    """Return `variable` if it is the name of an environment variable.

    Raises:
        UserError: if it is none, as where the key itself is given in its place. It is not shown.
    """
    if not _NAME.fullmatch(variable):
        raise UserError(
            where,
            "is no name of an environment variable (it may be the key itself)",
            "put the key into the environment and here its variable's name, such as OPENAI_API_KEY",
        )
    return variable


def check_header(name: str, where: str) -> str:
    """Return `name` if a key can be sent in a header of that name.

    Raises:
        UserError: if it is no name of a header, or of one that means something else.
    """
    if not _HEADER.fullmatch(name) or name.lower() in _TAKEN:
        raise UserError(
            where,
            f"{name[:40]!r} is no header that a key can be sent in",
            "give its name alone, such as api-key or X-API-Key; the key is read from the "
            "environment",
        )
    return name


def _list_base64_forms(secret: str) -> list[str]:
    """Compute the base64 forms of the secret for each place where it can begin within the encoded
    bytes, without the characters that also depend on its neighbours."""
    forms = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode()
        whole = encoded[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]
        forms += [whole, whole.translate(str.maketrans("+/", "-_"))]
    return list(dict.fromkeys(forms))


def _compile_spellings(forms: list[str]) -> re.Pattern[str]:
    return re.compile("|".join("".join(map(_make_spelling, form)) for form in forms))


def _make_spelling(character: str) -> str:
    """Make a pattern of the ways to write a character: as it is, behind backslashes, and by its
    number in JSON, an address or HTML."""
    code = f"{ord(character):02x}"
    ways = [
        rf"\\*{re.escape(character)}",
        rf"\\+(?i:u00{code})",
        rf"\\+(?i:x{code})",
        rf"%(?:25)*(?i:{code})",
        rf"&(?:amp;)*#(?i:x0*{code});",
        rf"&(?:amp;)*#0*{ord(character)};",
    ]
    if character in _ENTITIES:
        ways.append(f"&(?:amp;)*{_ENTITIES[character]};")
    return f"(?:{'|'.join(ways)})"
