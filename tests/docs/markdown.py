"""Pages of the documentation, read as what they are made of: fenced blocks, links and headings."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        ROOT / "benchmarks" / "RESULTS.md",
    ]
)
PART = "part of a recipe"
"""Title of a YAML block that is no whole recipe."""
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```\s*$",
    flags=re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]*)"')
_LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    page: Path
    row: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.row}"


def read_blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, without the indentation that it has within a tab."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for fence in _FENCE.finditer(text):
        title = _TITLE.search(fence["rest"])
        row = text.count("\n", 0, fence.start()) + 1
        body = textwrap.dedent(fence["text"])
        blocks.append(Block(page, row, fence["language"], title[1] if title else "", body))
    return blocks


def all_blocks(language: str) -> list[Block]:
    return [b for page in PAGES for b in read_blocks(page) if b.language == language]


def read_links(text: str) -> list[str]:
    """Targets of Markdown links and images outside of code."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text)))


def read_anchors(text: str) -> set[str]:
    """The anchors that headings get in the site and on a Git host."""
    headings = re.findall(r"^#+ +(.+)$", _FENCE.sub("", text), flags=re.MULTILINE)
    return {
        re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")
        for heading in headings
    }


def read_commands(block: Block) -> list[list[str]]:
    """The commands of a shell block, word by word, without comments."""
    import shlex

    joined = block.text.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]
