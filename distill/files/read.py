"""Files that others wrote, read: bytes -> text -> JSON -> the expected shape; YAML is read in
`distill.files.read_yaml`. Whatever is wrong with one ends in a UserError that names the file, the
row and the remedy.

Beyond what the parser itself refuses, these are refused: keys that stand twice, nesting deeper than
`MOST_LEVELS`, numbers that are infinite, undefined or beyond 64 bits, and characters that no text
can hold.
"""

import json
import math
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from distill.errors import DistillError, UserError
from distill.files.atomic import explain_os_error

T = TypeVar("T")
Steps = tuple[str | int, ...]
"""Keys and numbers that lead to a value within others."""

MOST_LEVELS = 100
"""Lists and mappings within each other."""
_TOO_DEEP = f"is nested deeper than {MOST_LEVELS} levels"
_SAVE = "save the file as UTF-8"
_CONVERT = f"{_SAVE}, such as by: iconv -f LATIN1 -t UTF-8 FILE"

_MAGIC: dict[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("is compressed (gzip)", "unpack it: gunzip -k FILE"),
    b"BZh": ("is compressed (bzip2)", "unpack it: bunzip2 -k FILE"),
    b"\xfd7zXZ": ("is compressed (xz)", "unpack it: unxz -k FILE"),
    b"\x28\xb5\x2f\xfd": ("is compressed (zstd)", "unpack it: unzstd FILE"),
    b"PK\x03\x04": ("is a zip archive", "unpack it: unzip FILE"),
    b"PAR1": ("is a Parquet file", "name a text file, or give it the suffix .parquet"),
    b"%PDF": ("is a PDF", "name a text file"),
    b"\xff\xfe\x00\x00": ("is UTF-32", _SAVE),
    b"\x00\x00\xfe\xff": ("is UTF-32", _SAVE),
    b"\xff\xfe": ("is UTF-16", _SAVE),
    b"\xfe\xff": ("is UTF-16", _SAVE),
}
"""How files begin that are no UTF-8 text."""


# --- bytes and text -----------------------------------------------------------------------------


def read_bytes(file: Path, remedy: str = "correct the path") -> bytes:
    """Read the bytes of a regular file.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    try:
        if file.is_file():
            return file.read_bytes()
        what = (
            "is a folder, not a file" if file.is_dir() else f"no such file{describe_search(file)}"
        )
    except OSError as fault:
        raise explain_os_error(fault, file) from fault
    except ValueError:  # a NUL in the path
        what = "is no path"
    raise UserError(str(file), what, remedy)


def describe_search(path: Path) -> str:
    """Say where a relative path was looked for, to be added to a message; empty for an absolute
    one."""
    return "" if path.is_absolute() else f" in {Path.cwd()}, where the command runs"


def parse_path(path: str) -> Path:
    """Make a path of what a person wrote, with ~ as their home folder.

    Raises:
        UserError: for none at all, an address such as s3://bucket/name, or the home of somebody who
            is not known here.
    """
    if not path.strip():
        raise UserError("a path", "is empty", "write the path of a file or folder")
    scheme, colon, _ = path.partition("://")
    if colon and scheme.isalnum():  # the rest is not repeated: it may hold a password
        raise UserError(
            f"{scheme}://...",
            "is an address, and a file or folder of this machine is needed",
            "copy or mount it, and write the path where it then is",
        )
    try:
        return Path(path).expanduser()
    except RuntimeError:
        what = "begins with the home of a user who is not known here"
        raise UserError(path, what, "write the whole path") from None


def read_text(file: Path, remedy: str = "correct the path") -> str:
    """Read a UTF-8 text file, without its byte order mark.

    Raises:
        UserError: if there is no such file, or it is compressed, UTF-16 or otherwise no UTF-8.
    """
    return decode(read_bytes(file, remedy), str(file))


def decode(data: bytes, where: str) -> str:
    """Decode UTF-8 bytes, without a byte order mark.

    Raises:
        UserError: saying what it is instead, with the row where it first fails.
    """
    refuse_other_forms(data, where)
    if b"\0" in data:
        row = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(f"{where}, row {row}", "holds a NUL byte: it is no text", _SAVE)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        row = data.count(b"\n", 0, fault.start) + 1
        raise UserError(
            f"{where}, row {row}",
            f"is not UTF-8 (byte 0x{data[fault.start]:02x})",
            _CONVERT,
        ) from None


def open_bytes(file: Path, text: bool = True) -> BufferedReader:
    """Open a file to be read piece by piece.

    Args:
        text: refuse what is compressed or in another encoding than UTF-8.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        source = file.open("rb")
        start = source.read(8) if text else b""
        source.seek(0)
    except OSError as fault:
        raise explain_os_error(fault, file) from fault
    refuse_other_forms(start, str(file))
    return source


def decode_row(line: bytes, where: str) -> str:
    """Decode one line of a file, without a byte order mark.

    Raises:
        UserError: if it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        what = f"is not UTF-8 (byte 0x{line[fault.start]:02x})"
        raise UserError(where, what, _CONVERT) from None


def refuse_other_forms(start: bytes, where: str) -> None:
    """Refuse a file that is compressed, or text in another encoding than UTF-8.

    Raises:
        UserError: naming the form and the remedy.
    """
    for magic, (what, remedy) in _MAGIC.items():
        if start.startswith(magic):
            raise UserError(where, what, remedy)


# --- JSON ---------------------------------------------------------------------------------------


def read_json_file(file: Path, remedy: str) -> Any:
    """Read the value of a JSON file.

    Raises:
        UserError: naming file, row and remedy, for anything else.
    """
    return parse_json(read_text(file, remedy), str(file), remedy)


def parse_json(text: str, where: str, remedy: str, checked: bool = True) -> Any:
    """Parse a JSON text.

    Args:
        checked: refuse numbers and texts that mean nothing, wherever they stand. Without it only
            the form is looked at, for rows of which a few columns are read, and checked there.

    Raises:
        UserError: naming the row of a text of several, and the remedy.
    """
    try:
        value = json.loads(text, object_pairs_hook=_make_object)
    except json.JSONDecodeError as fault:
        place = f"{where}, row {fault.lineno}" if "\n" in text.strip() else where
        raise UserError(
            place, f"is not JSON: {fault.msg} at column {fault.colno}", remedy
        ) from None
    except _KeyTwiceError as fault:
        raise UserError(where, str(fault), "keep one of them") from None
    except RecursionError:
        raise UserError(where, _TOO_DEEP, "flatten it") from None
    except ValueError:  # Python's own limit: 4,300 digits
        raise UserError(where, "holds a number of thousands of digits", remedy) from None
    # Each level is opened by a bracket: few brackets cannot be deep.
    if checked or text.count("[") + text.count("{") > MOST_LEVELS:
        check_value(value, where, remedy, checked)
    return value


class _KeyTwiceError(DistillError):
    pass


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys: set[str] = set()
        twice = next(key for key, _ in pairs if key in keys or keys.add(key))  # type: ignore[func-returns-value]
        raise _KeyTwiceError(f"has the key {twice[:80]!r} twice")
    return mapping


# --- what a value holds -------------------------------------------------------------------------


def check_value(value: Any, where: str, remedy: str, contents: bool = True) -> None:
    """Refuse a value of lists, mappings and scalars that is nested too deep, or (with `contents`)
    holds an unusable number or text.

    Raises:
        UserError: naming the path to it, such as models.a.input.
    """
    fault = find_fault(value, contents)
    if fault is not None:
        raise UserError(where, fault[1], remedy)


def find_fault(value: Any, contents: bool = True) -> tuple[Steps, str] | None:
    """Find what `check_value` would refuse: the path of keys and numbers to it, and what is
    wrong."""
    left: list[tuple[Steps, Any]] = [((), value)]
    while left:
        path, inner = left.pop()
        if len(path) > MOST_LEVELS:
            return path, _TOO_DEEP
        if isinstance(inner, dict):
            left += [((*path, key), below) for key, below in reversed(inner.items())]
            inner = "".join(inner)
        elif isinstance(inner, list):
            left += [((*path, number), below) for number, below in enumerate(inner)][::-1]
        if contents and (what := _find_meaning_fault(inner)):
            named = ".".join(str(part) for part in path) or "it"
            return path, f"{named[:200]} is {what}"
    return None


def _find_meaning_fault(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a number beyond 64 bits"
    if isinstance(value, str) and not is_text(value):
        return "a text with half a surrogate pair or a NUL"
    return None


def is_text(value: str) -> bool:
    """Return whether a text can be written as UTF-8 and shown: no half of a surrogate pair, no
    NUL."""
    return "\0" not in value and (
        value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    )


def expect(value: Any, kind: type[T], where: str, remedy: str) -> T:
    """Return the value if it is a mapping (dict), a list or a text (str), as expected.

    Raises:
        UserError: saying what it is instead.
    """
    if not isinstance(value, kind):
        raise UserError(where, f"is {describe(value)}, not {_KINDS[kind]}", remedy)
    return value


_KINDS: dict[type, str] = {
    dict: "a mapping of keys",
    list: "a list",
    str: "a text",
    bool: "a truth value",
    int: "a number",
    float: "a number",
    type(None): "empty",
}


def describe(value: Any) -> str:
    """Describe a value of YAML or JSON in words, such as `the number 5`."""
    word = _KINDS.get(type(value), f"a {type(value).__name__}")
    if isinstance(value, dict | list) or value is None:
        return word
    return f"{word} ({str(value)[:40]})"
