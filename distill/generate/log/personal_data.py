"""Finds and masks what may be personal data in a query: e-mail addresses, internet addresses and
long numbers. Names of people and places are not found: that takes a model of the language."""

import hashlib
import ipaddress
import re

_EMAIL_PART = r"[^\s@<>()\[\],;:\"']+"
_HOST = rf"(?:{_EMAIL_PART}\.\w{{2,}}|\[(?:IPv6:)?[\da-f:.]+\]|(?:\d{{1,3}}\.){{3}}\d{{1,3}})"
"""A name, or an internet address, in brackets (RFC 5321, section 4.1.3) or not."""
_EMAIL = re.compile(rf"(?:{_EMAIL_PART}')*{_EMAIL_PART}@{_HOST}", re.IGNORECASE)
_MAYBE_ADDRESS = re.compile(
    r"(?<![\w.:])(?=[a-f:.]*\d)[\da-f]*[:.][\da-f:.]*[\da-f:](?![\w:])", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.])(?:\+|00)?\(?\d(?:[ ()./\u2010-\u2015-]{0,3}\d){5,}(?!\w)")
"""Phone, card, account and customer numbers, in groups or not: six digits or more."""
_DIGITS = re.compile(r"(?<!\d)(?<!0x)\d{6,}", re.IGNORECASE)
"""Such numbers where something stands right before or behind: A123456, No.123456, an IBAN."""


_RULES = 1
"""Raised where something other than a pattern changes what is masked."""


def identify_masking() -> str:
    """Identify what is masked, for fingerprints: a log is read again where it changes."""
    patterns = [of.pattern for of in (_EMAIL, _MAYBE_ADDRESS, _NUMBER, _DIGITS)]
    return hashlib.sha256("\n".join([str(_RULES), *patterns]).encode()).hexdigest()[:16]


def mask_personal_data(text: str) -> str:
    """Replace each e-mail address, internet address, and number of six digits or more, by the name
    of its kind.

    >>> mask_personal_data("reset password of jo.doe@example.org, call +49 (0)30 123456")
    'reset password of [email], call [number]'
    """
    text = _EMAIL.sub("[email]", text)
    text = _MAYBE_ADDRESS.sub(lambda match: _mask_address(match[0]), text)
    return _DIGITS.sub("[number]", _NUMBER.sub("[number]", text))


def _mask_address(text: str) -> str:
    """Mask what is an internet address, also before a colon or a port; leave other text."""
    address, colon, port = text.rpartition(":")
    if _is_address(text):
        return "[ip]"
    return f"[ip]{colon}{port}" if _is_address(address) else text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
