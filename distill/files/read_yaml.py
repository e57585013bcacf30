"""YAML files that others wrote. Refused beyond what PyYAML itself refuses: keys that stand twice or
are no text, tags that are not known here, nesting deeper than `MOST_LEVELS`, a document that refers
to itself or multiplies itself by aliases, and values that mean nothing (see `distill.files.read`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

from distill.errors import UserError
from distill.files.read import MOST_LEVELS, find_fault

_MOST_ALIASED = 100_000
"""Nodes that the aliases of a file may stand for, all together."""
_MOST_DIGITS = 400
"""Of a number: the longest that a 64-bit float needs, written out, has fewer."""


def parse_yaml(text: str, where: str, remedy: str = "fix the row named") -> Any:
    """Parse a YAML text: mappings with texts as keys, lists, texts, numbers, truth values, dates
    and null.

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
        scalar = find_in_yaml(text, path)
        raise UserError(f"{where}, row {scalar.row}" if scalar else where, what, remedy)
    return value


class YamlScalar(NamedTuple):
    """A scalar as written in a YAML text; the row is counted from 1."""

    row: int
    text: str | None


def find_in_yaml(text: str, path: Sequence[str | int]) -> YamlScalar | None:
    """Find where in a YAML text the value at this path of keys and numbers stands, or the longest
    part of the path that is there; None if there is none."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.YAMLError:
        return None
    scalar = None
    for step in path:
        inner = _take_step(node, step)
        if inner is None:
            break
        node = inner
        source = node.value if isinstance(node, yaml.ScalarNode) else None
        scalar = YamlScalar(node.start_mark.line + 1, source)
    return scalar


def _take_step(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
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
    """PyYAML's safe loader that also refuses what the module's docstring names."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0
        self._aliased = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node as PyYAML does, and count levels and expanded aliases."""
        if self.check_event(yaml.AliasEvent):
            return self._compose_alias(parent, index)
        self._levels += 1
        if self._levels > MOST_LEVELS:
            raise _make_fault(
                f"nested deeper than {MOST_LEVELS} levels", self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self._levels -= 1
        if node is None:
            return None
        if node.tag not in _TAGS:
            raise _make_fault(f"the tag {node.tag[:80]!r} is not known here", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        self._sizes[id(node)] = 1 + sum(self._sizes[id(inner)] for inner in _iterate_inner(node))
        return node

    def _compose_alias(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        mark = self.peek_event().start_mark
        node: Any = super().compose_node(parent, index)
        if id(node) not in self._sizes:
            raise _make_fault("an alias stands within what it refers to", mark)
        self._aliased += self._sizes[id(node)]
        if self._aliased > _MOST_ALIASED:
            raise _make_fault(f"aliases stand for more than {_MOST_ALIASED:,} values", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value as PyYAML does. Its constructors fail in many ways on scalars with a
        wrong tag and on dates such as 2024-13-01: each becomes an error of YAML."""
        if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            raise _make_fault(f"a number of {len(node.value)} characters", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as fault:
            kind = node.tag.removeprefix(_YAML)
            what = (
                f"{str(node.value)[:80]!r} is no {kind} ({fault}); quote it where a text is meant"
            )
            raise _make_fault(what, node.start_mark) from None


def _make_fault(what: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, what, mark)


def _iterate_inner(node: yaml.Node) -> Iterator[yaml.Node]:
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
            raise _make_fault(f"the key{shown} is no text; quote it", key.start_mark)
        row = key.start_mark.line + 1
        if key.value in rows:
            what = f"the key {key.value[:80]!r} stands in row {rows[key.value]} already"
            raise _make_fault(what, key.start_mark)
        rows[key.value] = row
