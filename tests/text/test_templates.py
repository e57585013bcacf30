"""Templates of recipes know their own names alone."""

import pytest

from distill.text.templates import (
    check_plain_template,
    check_template,
    fill_template,
    find_template_names,
)

NAMES = ("task", "query")


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            text, marks=pytest.mark.bad_input("template", text, "refused, known names told")
        )
        for text in (
            "{query.__class__.__init__.__globals__}",
            "{query[0]}",
            "{0}",
            "{}",
            "{foo} {query}",
            "{query",
            "query}",
            "{query!r}",
            "{query:>99999999}",
            "{query:{task}}",
            "{ query }",
        )
    ],
)
def test_template_names_that_are_not_its_own_are_refused(template):
    with pytest.raises(ValueError, match=r"retriever\.query_template"):
        check_template(template, NAMES, "retriever.query_template")
    with pytest.raises(ValueError, match="template"):
        fill_template(template, task="t", query="q")


def test_template_values_are_put_in_as_they_are():
    assert fill_template("{task}: {query}", task="{query}", query="{task.x}") == "{query}: {task.x}"


def test_template_braces_are_doubled():
    assert fill_template("{{json}} {query}", query="q") == "{json} q"


def test_template_names_are_found():
    assert find_template_names("{{x}} {task} {query}") == {"task", "query"}


@pytest.mark.parametrize(
    "template", ["{foo}{query}", "{{query}}", "{query", "}{query}", "{qu{query}"]
)
def test_plain_template_has_no_brace_beside_its_names(template):
    with pytest.raises(ValueError, match=r"student\.query_template: .* is not known"):
        check_plain_template(template, NAMES, "student.query_template")
    check_plain_template("{task}: {query}", NAMES, "student.query_template")
