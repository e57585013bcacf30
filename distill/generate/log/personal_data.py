"""Finds and masks what may be personal data in a query: e-mail addresses, internet addresses and
long numbers. Names of people and places are not found: that takes a model of the language."""

import ipaddress
import re

_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"']+@[^\s@<>()\[\],;:\"']+\.\w{2,}")
_MAYBE_ADDRESS = re.compile(
    r"(?<![\w.:])(?=[a-f:.]*\d)[\da-f]*[:.][\da-f:.]*[\da-f:](?![\w:])", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.])(?:\+|00)?\(?\d(?:[ ()./-]{0,2}\d){5,}(?!\w)")
"""Phone, card, account and customer numbers, in groups or not: six digits or more."""


def mask_personal_data(text: str) -> str:
    """Replace each e-mail address, internet address, and number of six digits or more, by the name
    of its kind.

    >>> mask_personal_data("reset password of jo.doe@example.org, call +49 (0)30 123456")
    'reset password of [email], call [number]'
    """
    text = _EMAIL.sub("[email]", text)
    text = _MAYBE_ADDRESS.sub(lambda found: "[ip]" if _is_address(found[0]) else found[0], text)
    return _NUMBER.sub("[number]", text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
