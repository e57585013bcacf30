"""The table of bad input in docs/robustness.md, made from the marks `bad_input` of the tests:

python tests/robustness_table.py            write it
python tests/robustness_table.py --check    exit code 1 where the file says something else
"""

import contextlib
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # what is collected is this checkout's, whatever is installed
FILE = ROOT / "docs" / "robustness.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
_LONGEST = 160
_HEAD = "| kind | input | what happens | test |\n|---|---|---|---|\n"


class Row(NamedTuple):
    kind: str
    input: str
    outcome: str
    test: str


class _Collector:
    """Pytest's view of all tests, without running one."""

    def __init__(self) -> None:
        self.rows: set[Row] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.rows = find_rows(session.items)


def find_rows(items: Iterable[pytest.Item]) -> set[Row]:
    """The rows of the tests that are marked."""
    rows = set()
    for item in items:
        name = f"{item.path.relative_to(ROOT)}::{getattr(item, 'originalname', item.name)}"
        for mark in item.iter_markers("bad_input"):
            rows.add(Row(*(str(part) for part in mark.args), name))
    return rows


def collect() -> list[Row]:
    """Every marked test's row, each once, in an order of their own."""
    collector = _Collector()
    said = io.StringIO()
    arguments = [str(ROOT / "tests"), "--collect-only", "-q", "-p", "no:cacheprovider"]
    arguments += ["-p", "no:xdist", f"--ignore={ROOT / 'tests' / 'contract_vllm'}"]
    with contextlib.redirect_stdout(said):
        code = pytest.main([*arguments, f"--rootdir={ROOT}"], plugins=[collector])
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"the tests cannot be collected:\n{said.getvalue()[-3000:]}")
    return sorted(collector.rows)


def write_table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    return _HEAD + "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in rows)


def _cell(text: str) -> str:
    """One line that Markdown shows as it is written."""
    line = "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(text.split())
    )
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
    # "][" would be read as a link by its name.
    for letter, written in {"&": "&amp;", "<": "&lt;", "|": "\\|", "][": "]\\["}.items():
        line = line.replace(letter, written)
    return line


def filled(text: str, rows: Iterable[Row]) -> str:
    """The page with the rows between its two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{FILE} has not the two lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{write_table(rows)}\n{END}{behind}"


def main(arguments: list[str]) -> int:
    rows, text = collect(), FILE.read_text(encoding="utf-8")
    wanted = filled(text, rows)
    if arguments == ["--check"]:
        here = {line for line in text.splitlines() if line.startswith("| ")}
        there = {line for line in wanted.splitlines() if line.startswith("| ")}
        sys.stdout.write("".join(f"missing: {line}\n" for line in sorted(there - here)))
        sys.stdout.write("".join(f"no longer true: {line}\n" for line in sorted(here - there)))
        return int(text != wanted)
    FILE.write_text(wanted, encoding="utf-8")
    sys.stdout.write(f"{FILE.relative_to(ROOT)}: {len(rows)} rows\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
