"""Sections of text files, with the headings above them."""

import pytest

from distill.corpus.readers.auto import open_auto
from distill.corpus.readers.rows import Columns, Document, SkippedRow
from distill.corpus.sections.formats import read_sections
from distill.corpus.sections.markup import read_html, read_markdown, read_plain, read_rst
from distill.corpus.sections.outline import TextSection
from distill.errors import UserError

OUTLINE = [
    TextSection(("Bees",), "They dance."),
    TextSection(("Bees", "Food"), "Nectar.\n\nPollen, too."),
    TextSection(("Bees", "Food", "Winter"), "Honey."),
    TextSection(("Bees", "Homes"), "Hives."),
]


def test_markdown_headings_stand_above_their_text():
    text = "# Bees\nThey *dance*.\n## Food\nNectar.\n\n- Pollen, too.\n### Winter\n"
    text += "Honey.\n## Homes\nHives."
    assert read_markdown(text) == OUTLINE


def test_html_headings_stand_above_their_text():
    page = """<html><head><title>Bees</title><style>p {}</style></head><body><nav>Home</nav>
    <h1>Bees</h1><p>They <b>dance</b>.</p><h2>Food</h2><p>Nectar.</p><ul><li>Pollen,
    too.</li></ul><h3>Winter</h3>Honey.<script>x()</script><h2>Homes</h2><div>Hives.</div>
    <!-- no text --><footer>2020</footer></body></html>"""
    assert read_html(page) == OUTLINE


def test_rst_headings_stand_above_their_text():
    text = """Bees
====
They *dance*.

Food
----
Nectar.

* Pollen, too.

Winter
~~~~~~
Honey.

Homes
-----
Hives.
"""
    assert read_rst(text) == OUTLINE


def test_markdown_front_matter_gives_the_title_alone():
    text = '---\ntitle: "Bees"\nauthor: A.\n---\nThey dance.\n\n```python\nbuzz()\n```\n'
    assert read_markdown(text) == [TextSection(("Bees",), "They dance.\n\nbuzz()")]


def test_markdown_tables_and_links_are_read_as_text():
    text = "| a | b |\n|---|---|\n| one [link](x.md) | `two` |\n"
    assert read_markdown(text) == [TextSection((), "a\n\nb\n\none link\n\ntwo")]


def test_html_of_a_page_with_a_main_part_is_that_part():
    page = "<body><p>Menu</p><main><h1>Bees</h1><pre>a  b\n c</pre></main></body>"
    assert read_html(page) == [TextSection(("Bees",), "a  b\n c")]


def test_html_cells_and_controls_are_words_of_their_own():
    page = """<table><tr><th>Name</th><th>Age</th></tr><tr><td>Bob</td><td>42</td></tr></table>
    <select><option>red</option><option>blue</option></select>
    <fieldset><legend>Size</legend><label>Small</label><button>Buy</button></fieldset>"""
    lines = ["Name Age", "Bob 42", "red blue", "Size", "Small Buy"]
    assert read_html(page) == [TextSection((), "\n\n".join(lines))]
    (section,) = read_markdown("<table><tr><td>Bob</td><td>42</td></tr></table>\n")
    assert section.text == "Bob 42"


@pytest.mark.parametrize("name", ["bees.html", "bees.md"])
def test_corpus_with_cells_is_another_one_than_before(tmp_path, name):
    file = tmp_path / name
    file.write_text("<p>Bees dance.</p>\n")
    assert "cells" not in open_auto(file, Columns()).identity
    file.write_text("<table><tr><td>Bob</td><td>42</td></tr></table>\n")
    assert open_auto(file, Columns()).identity["cells"] == "apart"


def test_html_nested_deep_is_read():
    assert read_html("<div>" * 300 + "deep" + "</div>" * 300)[0].text == "deep"


@pytest.mark.bad_input("text file", "reStructuredText that includes a file", "not included")
def test_rst_reads_no_other_file(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden", encoding="utf-8")
    read = read_rst(f"Open.\n\n.. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n")
    assert "hidden" not in str(read)


def test_rst_keeps_the_text_of_directives_of_others():
    text = ".. py:function:: open_run(path)\n\n   Opens a run.\n"
    assert read_rst(text) == [TextSection((), "Opens a run.")]


def test_plain_text_has_a_short_first_line_as_title():
    assert read_plain("Bees\n\nThey dance.") == [TextSection(("Bees",), "They dance.")]
    assert read_plain("They dance.\nAlways.") == [TextSection((), "They dance.\nAlways.")]


@pytest.mark.parametrize(
    ("ending", "page"),
    [(".html", "<p>hello</p><![foo bar]>"), (".md", "# Bees\n\n<div>\n<![if-x]>\n</div>\n")],
)
@pytest.mark.bad_input("text file", "markup that its parser refuses", "named; or left out")
def test_markup_that_its_parser_refuses_is_named_or_left_out(tmp_path, ending, page):
    """It ended with the parser's traceback."""
    (tmp_path / f"odd{ending}").write_text(page)
    (tmp_path / "good.md").write_text("They dance.")
    with pytest.raises(UserError, match=rf"odd{ending}: cannot be read as text.*\n.*skip"):
        list(open_auto(tmp_path, Columns()).read())
    read = open_auto(tmp_path, Columns(), skips=True).read()
    assert [(row.id, type(row)) for row in read] == [
        ("good.md", Document),
        (f"odd{ending}", SkippedRow),
    ]


def read_file_sections(text: str, ending: str) -> list[TextSection]:
    return read_sections(text.encode(), ending, f"a file{ending}")


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (".md", "---\ntitle: My page\nlayout: post\n---\n# Bees\n\nThey dance.\n"),
        (".txt", "Bees\n\nThey dance.\n\nAlways.\n"),
        (".html", "<h1>Bees</h1><pre>They\ndance.</pre>"),
        (".rst", "Bees\n====\n\nThey dance::\n\n   in\n   the dark\n"),
    ],
)
@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_give_the_same_sections(ending, text, line_end):
    """A text file of Windows lost its title, and a head in YAML was text."""
    expected = read_file_sections(text, ending)
    assert read_file_sections(text.replace("\n", line_end), ending) == expected
    assert expected[0].headings


def test_markdown_between_two_rules_is_text():
    """It was taken for a head in YAML, and lost."""
    for lines in ("First section, a text.", "- a list\n- of two", "Bees: these dance.\n\nOthers."):
        (section,) = read_markdown(f"---\n{lines}\n\n---\nMore.\n")
        assert section.text.startswith(lines[:5].strip("- "))
        assert section.text.endswith("More.")


def test_markdown_front_matter_holds_lists_comments_and_nested_keys():
    head = "title: 'Bees'  \n# said of it\ntags:\n- a\n- b\n\nog:image: x.png\nmore:\n  deep: yes\n"
    assert read_markdown(f"---\n{head}---\nThey dance.\n") == [
        TextSection(("Bees",), "They dance.")
    ]
