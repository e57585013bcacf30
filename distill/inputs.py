"""Files that others wrote, read: bytes -> text -> YAML or JSON -> the expected shape. Whatever is
wrong with one ends in a UserError that names the file, the row and the remedy.

Beyond what the parsers themselves refuse, these are refused: keys that stand twice or are no text,
nesting deeper than `MOST_LEVELS`, YAML that refers to itself or multiplies itself by aliases,
numbers that are infinite, undefined or beyond 64 bits, and characters that no text can hold.
"""

import json
import math
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from distill.errors import DistillError, UserError
from distill.files import explain_os_error

T = TypeVar("T")
Steps = tuple[str | int, ...]
"""Keys and numbers that lead to a value within others."""

MOST_LEVELS = 100
"""Lists and mappings within each other."""
_TOO_DEEP = f"is nested deeper than {MOST_LEVELS} levels"
_MOST_ALIASED = 100_000
"""Nodes that the aliases of a YAML file may stand for, all together."""
_MOST_DIGITS = 400
"""Of a number: the longest that a 64-bit float needs, written out, has fewer."""
_SAVE = "save the file as UTF-8"

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


def read_bytes(file: Path, remedy: str = "mend the path") -> bytes:
    """The bytes of a regular file.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    try:
        if file.is_file():
            return file.read_bytes()
        what = "is a folder, not a file" if file.is_dir() else f"no such file{looked_for(file)}"
    except OSError as fault:
        raise explain_os_error(fault, file) from fault
    except ValueError:  # a NUL in the path
        what = "is no path"
    raise UserError(str(file), what, remedy)


def looked_for(path: Path) -> str:
    """Where a relative path was looked for, to be added to a message; empty for an absolute one."""
    return "" if path.is_absolute() else f" in {Path.cwd()}, where the command runs"


def user_path(path: str) -> Path:
    """A path as a person writes it, ~ being their home.

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


def read_text(file: Path, remedy: str = "mend the path") -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        UserError: if there is no such file, or it is compressed, UTF-16 or otherwise no UTF-8.
    """
    return decode(read_bytes(file, remedy), str(file))


def decode(data: bytes, where: str) -> str:
    """UTF-8 bytes as text, without a byte order mark.

    Raises:
        UserError: saying what it is instead, with the row where it first fails.
    """
    refuse_other_forms(data, where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        row = data.count(b"\n", 0, fault.start) + 1
        raise UserError(
            f"{where}, row {row}",
            f"is not UTF-8 (byte 0x{data[fault.start]:02x})",
            f"{_SAVE}, such as by: iconv -f LATIN1 -t UTF-8 FILE",
        ) from None
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{where}, row {row}", "holds a NUL byte: it is no text", _SAVE)
    return text


def open_bytes(file: Path, text: bool = True) -> BufferedReader:
    """A file to be read piece by piece.

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
    """One line of a file as text, without a byte order mark.

    Raises:
        UserError: if it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        what = f"is not UTF-8 (byte 0x{line[fault.start]:02x})"
        raise UserError(where, what, _SAVE) from None


def refuse_other_forms(start: bytes, where: str) -> None:
    """Refuse a file that begins as one that is compressed, or is text in another encoding.

    Raises:
        UserError: naming the form and the remedy.
    """
    for magic, (what, remedy) in _MAGIC.items():
        if start.startswith(magic):
            raise UserError(where, what, remedy)


# --- JSON ---------------------------------------------------------------------------------------


def read_json_file(file: Path, remedy: str) -> Any:
    """The value of a JSON file.

    Raises:
        UserError: naming file, row and remedy, for anything else.
    """
    return parse_json(read_text(file, remedy), str(file), remedy)


def parse_json(text: str, where: str, remedy: str, checked: bool = True) -> Any:
    """The value of a JSON text.

    Args:
        checked: refuse numbers and texts that mean nothing, wherever they stand. Without it only
            the form is looked at, for rows of which a few columns are read, and checked there.

    Raises:
        UserError: naming the row of a text of several, and the remedy.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _KeyTwiceError(f"has the key {twice[:80]!r} twice")
    return made


# --- YAML ---------------------------------------------------------------------------------------


def read_yaml_file(file: Path, remedy: str) -> Any:
    """The value of a YAML file; None of an empty one.

    Raises:
        UserError: naming file, row and remedy, for anything else.
    """
    return parse_yaml(read_text(file, remedy), str(file), remedy)


def parse_yaml(text: str, where: str, remedy: str = "mend the row named") -> Any:
    """The value of a YAML text: mappings with texts as keys, lists, texts, numbers, truth values,
    dates and null.

    Raises:
        UserError: naming row and remedy.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = f"{where}, row {mark.line + 1}" if mark else where
        what = " ".join(str(fault.problem or fault.context).split())
        raise UserError(place, f"is not YAML: {what[:300]}", remedy) from None
    except yaml.YAMLError as fault:  # a character that YAML does not allow
        raise UserError(
            where, f"is not YAML: {' '.join(str(fault).split())[:300]}", remedy
        ) from None
    meaningless = find_fault(value)
    if meaningless is not None:
        path, what = meaningless
        written = find_in_yaml(text, path)
        raise UserError(f"{where}, row {written.row}" if written else where, what, remedy)
    return value


class Written(NamedTuple):
    """How a scalar stands in a YAML text; the row is counted from 1."""

    row: int
    text: str | None


def find_in_yaml(text: str, path: Sequence[str | int]) -> Written | None:
    """Where in a YAML text the value of this path of keys and numbers stands; for a path of which
    only a part is there, that part. None for what cannot be found."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.YAMLError:
        return None
    found = None
    for step in path:
        inner = _step(node, step)
        if inner is None:
            break
        node = inner
        source = node.value if isinstance(node, yaml.ScalarNode) else None
        found = Written(node.start_mark.line + 1, source)
    return found


def _step(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((inner for key, inner in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        inner: yaml.Node = node.value[step]
        return inner
    return None


_YAML = "tag:yaml.org,2002:"
_MERGE, _TEXT = f"{_YAML}merge", f"{_YAML}str"
_NUMBERS = {f"{_YAML}int", f"{_YAML}float"}
_TAGS = {_MERGE, _TEXT, *_NUMBERS} | {
    _YAML + name for name in ("null", "bool", "timestamp", "seq", "map")
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses in addition what this module's docstring names."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0
        self._aliased = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML has it, counting levels and what aliases stand for."""
        if self.check_event(yaml.AliasEvent):
            return self._alias(parent, index)
        self._levels += 1
        if self._levels > MOST_LEVELS:
            raise _fault(f"nested deeper than {MOST_LEVELS} levels", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self._levels -= 1
        if node is None:
            return None
        if node.tag not in _TAGS:
            raise _fault(f"the tag {node.tag[:80]!r} is not known here", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        self._sizes[id(node)] = 1 + sum(self._sizes[id(inner)] for inner in _inner(node))
        return node

    def _alias(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        mark = self.peek_event().start_mark
        node: Any = super().compose_node(parent, index)
        if id(node) not in self._sizes:
            raise _fault("an alias stands within what it refers to", mark)
        self._aliased += self._sizes[id(node)]
        if self._aliased > _MOST_ALIASED:
            raise _fault(f"aliases stand for more than {_MOST_ALIASED:,} values", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As PyYAML has it, whose constructors fail in many ways on scalars that are tagged as
        what they are not, and on dates such as 2024-13-01."""
        if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            raise _fault(f"a number of {len(node.value)} characters", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as fault:
            kind = node.tag.removeprefix(_YAML)
            what = (
                f"{str(node.value)[:80]!r} is no {kind} ({fault}); quote it where a text is meant"
            )
            raise _fault(what, node.start_mark) from None


def _fault(what: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, what, mark)


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _check_keys(node: yaml.MappingNode) -> None:
    rows: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag == _MERGE:
            continue
        if key.tag != _TEXT or not isinstance(key, yaml.ScalarNode):
            shown = f" {key.value[:80]!r}" if isinstance(key, yaml.ScalarNode) else ""
            raise _fault(f"the key{shown} is no text; quote it", key.start_mark)
        row = key.start_mark.line + 1
        if key.value in rows:
            what = f"the key {key.value[:80]!r} stands in row {rows[key.value]} already"
            raise _fault(what, key.start_mark)
        rows[key.value] = row


# --- what a value holds -------------------------------------------------------------------------


def check_value(value: Any, where: str, remedy: str, contents: bool = True) -> None:
    """Refuse a value of lists, mappings and scalars that is nested too deep, or (`contents`) holds
    a number or a text that means nothing.

    Raises:
        UserError: naming the path to it, such as models.a.input.
    """
    fault = find_fault(value, contents)
    if fault is not None:
        raise UserError(where, fault[1], remedy)


def find_fault(value: Any, contents: bool = True) -> tuple[Steps, str] | None:
    """What `check_value` would refuse: the path of keys and numbers to it, and the fault."""
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
        if contents and (what := _meaningless(inner)):
            named = ".".join(str(part) for part in path) or "it"
            return path, f"{named[:200]} is {what}"
    return None


def _meaningless(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a number beyond 64 bits"
    if isinstance(value, str) and not is_text(value):
        return "a text with half a surrogate pair or a NUL"
    return None


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8 and shown: no half of a surrogate pair, no NUL."""
    return "\0" not in value and (
        value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    )


def expect(value: Any, kind: type[T], where: str, remedy: str) -> T:
    """The value, which must be a mapping (dict), a list or a text (str).

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
    """What a value of YAML or JSON is, in words: `the number 5`."""
    word = _KINDS.get(type(value), f"a {type(value).__name__}")
    if isinstance(value, dict | list) or value is None:
        return word
    return f"{word} ({str(value)[:40]})"
