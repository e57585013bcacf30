"""The kinds of values that options take, and lists of words with commas between them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from distill.files.read import is_text, parse_path
from distill.object_store.address import is_store_address, parse_address

Command = TypeVar("Command", bound=Callable[..., Any])


class _Text(click.ParamType):
    """Words that enter a model: bytes of the command line that are no UTF-8 are none."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_text(str(value)):
            self.fail(f"{str(value)!r} is not UTF-8.", param, ctx)
        return str(value)


class _LocalPath(click.ParamType):
    """A file or folder of this machine, ~ being one's home, or, if `stored`, of an object store."""

    name = "path"

    def __init__(self, stored: bool = False) -> None:
        self._stored = stored

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._stored and is_store_address(str(value)):
            try:
                return str(parse_address(str(value)))
            except ValueError as fault:
                self.fail(f"{fault}.", param, ctx)
        if not str(value).strip():
            self.fail("is empty: name a file or folder.", param, ctx)
        scheme, address, _ = str(value).partition("://")
        if address:  # the rest is not repeated: it may hold a password
            self.fail(
                f"{scheme}://... is an address: name a file or folder of this machine.", param, ctx
            )
        return parse_path(str(value))


TEXT = _Text()
PATH = _LocalPath()
CORPUS_PATH = _LocalPath(stored=True)


def split_list(words: str) -> list[str]:
    """Return the words between commas."""
    return [word.strip() for word in words.split(",") if word.strip()]
