"""docs/robustness.md says what the tests say."""

import subprocess
import sys
from pathlib import Path

import pytest
from robustness_table import BEGIN, END, FILE, Row, filled, find_rows, write_table

ROOT = Path(__file__).parent.parent
REMEDY = "write docs/robustness.md anew: python tests/robustness_table.py"


@pytest.mark.slow
def test_page_lists_what_is_tested(request):
    """Where all tests are run, they are those that were collected."""
    options = request.config.option
    paths = {item.path for item in request.session.items}
    if options.markexpr or options.keyword or not paths >= {*ROOT.glob("tests/**/test_*.py")}:
        collect_in_another_process()
        return
    items = [item for item in request.session.items if "contract_vllm" not in item.path.parts]
    text = FILE.read_text(encoding="utf-8")
    assert text == filled(text, sorted(find_rows(items))), REMEDY


def collect_in_another_process():
    done = subprocess.run(
        [sys.executable, "tests/robustness_table.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{REMEDY}"


def test_page_has_many_rows_and_no_two_alike():
    text = FILE.read_text(encoding="utf-8")
    rows = [row for row in text.partition(BEGIN)[2].splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 300
    assert len(set(rows)) == len(rows)


def test_cell_is_one_line_that_shows_what_is_there():
    table = write_table([Row("a|b", "line\nbreak \x1b <b>", "é " + "x" * 500, "t.py::test_x")])
    row = table.splitlines()[-1]
    assert row.startswith("| a\\|b | line break \\x1b &lt;b> | é xxx")
    assert len(row) < 300


def test_cell_holds_no_link_by_its_name():
    table = write_table([Row("k", "i", "refused: [.][.]", "t.py::test_x")])
    assert "[.]\\[.]" in table


def test_rows_go_between_the_two_lines():
    page = f"head\n{BEGIN}old\n{END}tail\n"
    written = filled(page, [Row("k", "i", "o", "t")])
    assert "old" not in written
    assert "| k | i | o | t |" in written
    assert filled(written, [Row("k", "i", "o", "t")]) == written
