"""A first recipe as commented YAML."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import yaml

from distill.errors import UserError
from distill.files.atomic import commit_bytes
from distill.start.choice.setting import Setting
from distill.start.guess import RunGuess, describe_guess
from distill.start.survey import CorpusSurvey

_COMMENT_COLUMN = 44
"""Column of the comments, where the settings leave it."""
_WIDEST = 100
"""Columns of a line with a comment behind its value; where it would be longer it stands above."""


def format_recipe(settings: Sequence[Setting], corpus: CorpusSurvey, guess: RunGuess) -> str:
    """Format settings as YAML, a section at a time, with the reason of each as a comment, and what
    the run takes above them."""
    lines = [*_write_header(corpus, guess)]
    for section, group in groupby(settings, key=lambda setting: setting.key.partition(".")[0]):
        inner = list(group)
        if inner[0].key == section:
            lines += [*([""] if section != "name" else []), *_write_lines(section, inner[0], "")]
            continue
        lines += ["", f"{section}:"]
        for setting in inner:
            lines += _write_lines(setting.key.partition(".")[2], setting, "  ")
    return "\n".join(lines) + "\n"


def _write_header(corpus: CorpusSurvey, guess: RunGuess) -> Iterator[str]:
    language = corpus.language or "several languages"
    yield f"# A first recipe for {corpus.size},"
    yield f"# {corpus.tokens:,} tokens; language: {language}."
    takes = f"It takes: {describe_guess(guess)}; `distill estimate` measures it."
    yield from textwrap.wrap(takes, _WIDEST, initial_indent="# ", subsequent_indent="# ")
    yield "# Every other key has its default: `distill explain` lists them."


def _write_lines(key: str, setting: Setting, indent: str) -> Iterator[str]:
    value = yaml.safe_dump(setting.value, default_flow_style=True, width=10_000, allow_unicode=True)
    text = f"{indent}{key}: {value.removesuffix('...' + chr(10)).strip()}"
    comment = f"# {setting.why}"
    line = f"{text:<{_COMMENT_COLUMN}} {comment}"
    if len(line) <= _WIDEST:
        yield line
    else:
        yield f"{indent}{comment}"
        yield text


def check_target(file: Path, overwrite: bool) -> None:
    """Refuse a file that a recipe cannot be written to, before anything is looked at.

    Raises:
        UserError: if it exists and may not be overwritten, or its folder does not exist.
    """
    if (file.exists() or file.is_symlink()) and not overwrite:
        raise UserError(
            str(file), "exists already, and is not overwritten", "--out FILE, or --overwrite"
        )
    if not file.parent.is_dir():
        raise UserError(str(file.parent), "is no folder", "make it, or name another file by --out")


def write_recipe(file: Path, text: str) -> Path:
    """Write a recipe's file, whole or not at all."""
    commit_bytes(file, text.encode())
    return file
