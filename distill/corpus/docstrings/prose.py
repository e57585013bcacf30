"""A docstring (reST, numpydoc or Google style) as paragraphs of prose: what it says, without its
code, its markup and the lists of names around it."""

import re

_HEADING = re.compile(r"([=\-~^\"'#*+`])\1{2,}")
_DIRECTIVE = re.compile(r"\.\. +(?P<name>[\w:-]+)::(?P<argument>.*)")
_PROSE_DIRECTIVES = {
    *("note", "warning", "important", "tip", "hint", "caution", "attention", "danger"),
    *("seealso", "rubric", "admonition", "topic", "container"),
}
"""Directives whose content is prose; the others go with all that is indented under them."""
_TABLE = re.compile(r"=+( +=+)+|\+[-=+]+\+")
_FENCE = re.compile(r"```|~~~")
_ITEM = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)])\s+")
_CODE_SECTIONS = {"example", "examples", "usage"}
_NAME_SECTIONS = {"see also", "references", "array api standard support"}
"""Sections that list names; the last repeats one table in a few hundred docstrings."""
_SIGNATURE = re.compile(
    r"[\w.]+\([^\n]*(?:\n[^\n]+)*?\)(?:\s*->[^\n]*)?\s*(?:\n\s*\n|\n(?=[A-Z])|$)"
)
_OVERLOAD = re.compile(r"(?:\d+\. )?[\w.]+\(.*\) -> .*|Overloaded function\.")

_MARKUP = [
    (re.compile(r":[\w:-]+:`~?\.?([^`<]*[^`<\s])\s*<[^`<>\s]*>`"), r"\1"),  # :func:`x <y>`
    (re.compile(r":[\w:-]+:`~?\.?([^`]+)`"), r"\1"),  # :func:`~x.y`
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),  # `text <address>`_
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r"`([^`]+)`_{0,2}"), r"\1"),
    (re.compile(r"\s*\[(?:\d+|[A-Z]\w*)\]_"), ""),  # footnote marks
    (re.compile(r"\*\*(\S(?:.*?\S)?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(\w(?:[^*]*\w)?)\*(?!\w)"), r"\1"),
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\\(?=[*_`|])|\\ "), ""),
]


def extract_paragraphs(doc: str) -> list[str]:
    """Extract the prose of a docstring whose indentation is removed (`inspect.cleandoc`), a
    paragraph or list item each, with white space collapsed; each ends in a punctuation mark.

    Left out: a signature in the first line, code (`>>>`, literal and fenced blocks), directives
    such as `.. versionadded::`, underlines, the sections "See Also" and "References".
    """
    doc = _SIGNATURE.sub("", doc.lstrip(), count=1) if _SIGNATURE.match(doc.lstrip()) else doc
    blocks = _split_blocks(_remove_headings(_remove_code(doc.splitlines())))
    cleaned = (_end_sentence(_remove_markup(" ".join(block))) for block in blocks)
    return [text for text in cleaned if re.search(r"\w", text)]


def _measure_indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _remove_code(lines: list[str]) -> list[str]:
    kept: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        text = line.strip()
        position += 1
        if _OVERLOAD.fullmatch(text):
            continue
        if text.startswith(">>>") or _TABLE.fullmatch(text):
            position = _skip_block(lines, position)
        elif _FENCE.match(text):
            position = _skip_fence(lines, position)
        elif directive := _DIRECTIVE.match(text):
            if directive["name"] in _PROSE_DIRECTIVES:
                kept += ["", " " * _measure_indent(line) + directive["argument"].strip()]
            else:
                position = _skip_indented(lines, position, _measure_indent(line))
        elif text.startswith(".. "):  # a comment, a footnote or a link's target
            position = _skip_indented(lines, position, _measure_indent(line))
        else:
            kept.append(line)
            if text.endswith("::"):
                position = _skip_literal(lines, position, _measure_indent(line))
    return kept


def _skip_block(lines: list[str], position: int) -> int:
    """Return the position past a `>>>` block with its output, or past a table: both end at an empty
    line."""
    while position < len(lines) and lines[position].strip():
        position += 1
    return position


def _skip_fence(lines: list[str], position: int) -> int:
    while position < len(lines) and not _FENCE.match(lines[position].strip()):
        position += 1
    return position + 1


def _skip_indented(lines: list[str], position: int, indent: int) -> int:
    while position < len(lines) and (
        not lines[position].strip() or _measure_indent(lines[position]) > indent
    ):
        position += 1
    return position


def _skip_literal(lines: list[str], position: int, indent: int) -> int:
    """Return the position past the indented block behind `::`, which begins after an empty line;
    where there is none (`Args::`), what follows is prose."""
    if position < len(lines) and lines[position].strip():
        return position
    return _skip_indented(lines, position, indent)


def _remove_headings(lines: list[str]) -> list[str]:
    """Remove headings: underlines go; a heading becomes a paragraph "Parameters:", or goes too,
    where the section is one of names or nothing of it is left."""
    kept: list[str] = []
    skipping = False
    for number, line in enumerate(lines):
        text = line.strip()
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if _HEADING.fullmatch(text):
            continue
        if text and _HEADING.fullmatch(below):
            skipping = text.lower() in _NAME_SECTIONS
            if not skipping:
                kept += ["", _write_heading(text), ""]
        elif text.strip("*").lower() in _NAME_SECTIONS:  # **See also**
            skipping = True
        elif text.rstrip(":").lower() in _CODE_SECTIONS:
            kept.append("")
        elif not skipping:
            kept.append(line)
    return kept


def _write_heading(text: str) -> str:
    return "" if text.lower() in _CODE_SECTIONS else f"{text.rstrip(':')}:"


def _split_blocks(lines: list[str]) -> list[list[str]]:
    """Split into the lines that belong together: until an empty line, a list item, or a line that
    is less indented than the one before (the next parameter of a list)."""
    blocks: list[list[str]] = [[]]
    before = 0
    for line in lines:
        text = line.strip()
        begins = not text or _ITEM.match(text) or _measure_indent(line) < before
        if begins and blocks[-1]:
            blocks.append([])
        if text:
            blocks[-1].append(_ITEM.sub("", text, count=1) if _ITEM.match(text) else text)
            before = _measure_indent(line)
    return [block for block in blocks if block]


def _remove_markup(text: str) -> str:
    for pattern, plain in _MARKUP:
        text = pattern.sub(plain, text)
    return " ".join(text.split())


def _end_sentence(text: str) -> str:
    return text if re.search(r"[.!?:;,][\"')\]]*$", text) or not text else text + "."
