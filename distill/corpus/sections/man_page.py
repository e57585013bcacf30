"""Manual pages (man and mdoc macros) as sections, set as plain text by groff."""

import os
import re
import subprocess

from distill.corpus.sections.outline import Outline, TextSection
from distill.errors import UserError

ENDING = re.compile(r"\.[1-8][a-z0-9+]*")
"""Of a manual page's file name: its section of the manual, maybe with a suffix: `.3pm`."""
_TITLE = re.compile(r"^[.'][ \t]*(?:TH|Dt)[ \t]+\"?([^\s\"]+)\"?[ \t]+\"?([^\s\"]+)", re.MULTILINE)
_REQUEST_OF_FILES = re.compile(
    r"^[.'][ \t]*(?:so|mso|soquiet|msoquiet|nx|cf|trf|hpf|psbb)\b.*", re.MULTILINE
)
_DATE = re.compile(r"^[.'][ \t]*Dd\b.*", re.MULTILINE)
_FORBID = ".rm so soquiet nx cf trf hpf psbb\n"
"""Takes the requests that read files out of groff: a page may hide one from the pattern above, such
as in a condition."""
_FORBID_MACROS = "\n.rm mso msoquiet"
"""Behind the title, by which groff itself has read its macros."""
_COMMAND = ["groff", "-S", "-Kutf8", "-t", "-mandoc", "-Tutf8", "-P-cbou", "-rLL=2000n", "-rHY=0"]
"""Safer mode; tables; neither bold nor hyphens; lines long enough for whole paragraphs."""
_SECONDS = 60


def is_man_page(text: str) -> bool:
    """Return whether a text begins a manual page by one of the macros TH (man) and Dt (mdoc)."""
    return _TITLE.search(text) is not None


def read_man_page(text: str, where: str) -> list[TextSection]:
    """Read the sections of a manual page. Requests that would read other files are passed over.

    Raises:
        UserError: if groff cannot set it.
    """
    titled = _TITLE.search(text)
    source = _forbid_files(text)
    try:
        done = subprocess.run(
            _COMMAND,
            input=source.encode(),
            capture_output=True,
            timeout=_SECONDS,
            # No other variable: a page may print one, such as a key, by the escape \\V.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as fault:
        what = f"cannot be set by groff ({type(fault).__name__})"
        raise UserError(where, what, "take it out of the folder") from fault
    outline = Outline(f"{titled[1].lower()}({titled[2]})" if titled else "")
    for block in _split_blocks(done.stdout.decode("utf-8", "replace")):
        if block[0].isspace():
            outline.add("\n".join(line.strip() for line in block.splitlines()))
        else:
            heading, _, rest = block.partition("\n")
            outline.open(1, _capitalise(heading))
            outline.add("\n".join(line.strip() for line in rest.splitlines()))
    outline.close()
    return outline.sections


def _forbid_files(text: str) -> str:
    """Write a manual page in such a way that its requests read no other file. Of what stands before
    the title the date alone stays, so that nothing runs before groff has read its own macros and
    can no longer read others."""
    titled = _TITLE.search(text)
    if titled is None:
        return _FORBID + _REQUEST_OF_FILES.sub("", text)
    date = _DATE.search(text, 0, titled.start())
    title, _, rest = text[titled.start() :].partition("\n")
    head = f"{date[0]}\n" if date else ""
    # A backslash at the end of a line continues it.
    lines = (head + title).replace("\\\n", "\n").rstrip("\\")
    return f"{_FORBID}{lines}{_FORBID_MACROS}\n{_REQUEST_OF_FILES.sub('', rest)}"


def _split_blocks(page: str) -> list[str]:
    """Return what stands between empty lines, but for the page's head and foot."""
    blocks = [block for block in re.split(r"\n(?:[ \t]*\n)+", page) if block.strip()]
    return [block.strip("\n") for block in blocks[1:-1]]


def _capitalise(heading: str) -> str:
    return heading.capitalize() if heading.isupper() else heading
