"""Text files as sections: each with the headings above it.

Markdown is read by markdown-it-py, HTML by Beautiful Soup, reStructuredText by docutils; of a page
what is no text for a reader (scripts, navigation) is left out.
"""

import re
from collections.abc import Iterator
from typing import Any

from distill.corpus.sections.outline import Outline, TextSection

_NAVIGATION = {"script", "style", "nav", "header", "footer", "aside", "noscript", "template", "svg"}
_BLOCK = re.compile(
    "p|div|section|article|main|ul|ol|li|dl|dt|dd|table|tr|pre|blockquote|figure|figcaption|caption|"
    "form|fieldset|legend|details|summary|address|hr|br"
)
_PART = "td|th|option|optgroup|button|label"
"""Parts of a line: a space is between them."""
_PARTS = re.compile(_PART)
_PART_TAG = re.compile(rf"<(?:{_PART}|legend)[\s>]".encode(), re.IGNORECASE)
_HEADING = re.compile(r"h([1-6])")
_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)(?:---|\.\.\.)\n", re.DOTALL)
_FRONT_KEY = re.compile(r"^[^\s#-].*?:(?:\s|$)", re.MULTILINE)
_FRONT_OTHER = re.compile(r"$|\s|[-#\]}]")
"""Begins a line of YAML that names no key: empty, indented, of a list, or a comment."""
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)
_LONGEST_TITLE = 120
"""Characters of a first line that may be a plain text's title."""


def read_markdown(text: str) -> list[TextSection]:
    """Read the sections of a Markdown text (CommonMark with tables), whose lines end in `\\n`; a
    YAML head gives the title alone."""
    from markdown_it import MarkdownIt

    head, body = _split_front_matter(text)
    titled = _FRONT_TITLE.search(head)
    outline = Outline(titled[1] if titled else "")
    level = 0
    for token in MarkdownIt("commonmark").enable("table").parse(body):
        if token.type == "heading_open":
            level = int(token.tag[1])
        elif token.type == "inline":
            words = _join_inline(token.children or [])
            if level:
                outline.open(level, words)
                level = 0
            else:
                outline.add(words)
        elif token.type in ("fence", "code_block"):
            outline.add(token.content)
        elif token.type == "html_block":
            outline.add("\n\n".join(section.text for section in read_html(token.content)))
    outline.close()
    return outline.sections


def _split_front_matter(text: str) -> tuple[str, str]:
    """Split the lines of a YAML head from a text. What stands between two rules and is no YAML is
    text."""
    front = _FRONT_MATTER.match(text)
    if front is None or not _FRONT_KEY.search(front[1]):
        return "", text
    for line in front[1].split("\n"):
        if not _FRONT_KEY.match(line) and not _FRONT_OTHER.match(line):
            return "", text
    return front[1], text[front.end() :]


def _join_inline(tokens: list[Any]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "code_inline", "image"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append("\n")
    return "".join(parts)


def has_parts_of_lines(page: bytes) -> bool:
    """Return whether a page or Markdown text in UTF-8 has tags such as those of a table's cells,
    which earlier versions did not heed: `Bob` and `42` were read as `Bob42`."""
    return _PART_TAG.search(page) is not None


def read_html(text: str) -> list[TextSection]:
    """Read the sections of an HTML page: of its main part where it names one, else of its body."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup(text, "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    outline = Outline(title)
    root = page.find("main") or page.find("article") or page.body or page
    pieces: list[str] = []

    def flush() -> None:
        for block in "".join(pieces).split("\f"):
            outline.add(" ".join(block.split()))
        pieces.clear()

    for kind, value in _walk(root):
        if kind == "text":
            pieces.append(value)
        elif kind == "block":
            pieces.append("\f")
        elif kind == "verbatim":
            flush()
            outline.add(value)
        else:
            flush()
            outline.open(int(kind), value)
    flush()
    outline.close()
    return outline.sections


def _walk(root: Any) -> Iterator[tuple[str, str]]:
    """Yield texts, ends of blocks, verbatim texts, and headings by their level, in the page's
    order. Without recursion: pages may be nested thousands deep."""
    from bs4 import NavigableString, Tag
    from bs4.element import PreformattedString

    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if node is None:
            yield "block", ""
        elif isinstance(node, NavigableString):
            if not isinstance(node, PreformattedString):  # comments, declarations
                yield "text", str(node)
        elif isinstance(node, Tag) and node.name not in _NAVIGATION and node.name != "title":
            if heading := _HEADING.fullmatch(node.name):
                yield heading[1], node.get_text(" ", strip=True)
            elif node.name == "pre":
                yield "verbatim", node.get_text()
            else:
                if _BLOCK.fullmatch(node.name):
                    yield "block", ""
                    waiting.append(None)
                elif _PARTS.fullmatch(node.name):
                    yield "text", " "
                    waiting.append(NavigableString(" "))
                waiting.extend(reversed(node.contents))


def read_rst(text: str) -> list[TextSection]:
    """Read the sections of a reStructuredText document. It includes no file and runs no code; of
    directives that docutils does not know (Sphinx') the text is kept."""
    from docutils import nodes
    from docutils.core import publish_doctree

    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "report_level": 5,
        "halt_level": 5,
        "_disable_config": True,
        "doctitle_xform": False,
    }
    outline = Outline()

    def read(node: nodes.Node, level: int) -> None:
        for child in node.children:
            if isinstance(child, nodes.section):
                read(child, level + 1)
            elif isinstance(child, nodes.title):
                outline.open(level, child.astext())
            elif isinstance(child, nodes.comment | nodes.substitution_definition | nodes.target):
                continue
            elif isinstance(child, nodes.system_message):
                blocks = [one.astext() for one in child.findall(nodes.literal_block)]
                outline.add("\n".join(_remove_directive(block) for block in blocks))
            elif isinstance(child, nodes.TextElement):
                outline.add(child.astext())
            else:
                read(child, level)

    read(publish_doctree(text, settings_overrides=settings), 0)
    outline.close()
    return outline.sections


def _remove_directive(block: str) -> str:
    """Return the lines below the first one of a directive."""
    return "\n".join(line.strip() for line in block.splitlines()[1:])


def read_plain(text: str) -> list[TextSection]:
    """Read one section; a short first line above an empty one is its title."""
    first, _, rest = text.lstrip().partition("\n")
    is_title = len(first) <= _LONGEST_TITLE and rest[:1] == "\n" and rest.strip() != ""
    outline = Outline(first.strip() if is_title else "")
    outline.add(rest if is_title else text)
    outline.close()
    return outline.sections
