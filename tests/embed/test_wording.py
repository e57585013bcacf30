"""Whole texts are made and taken apart again, and templates know their names alone."""

import pytest
from pydantic import ValidationError

from distill.embed.published import NOTHING_PUBLISHED
from distill.embed.wording import EmbedderPrompts, choose_prompts, find_carried_template
from distill.errors import UserError
from distill.recipe import EmbedderConfig, Retriever, Teacher
from distill.recipe.load import load_recipe
from distill.text.format import TextFormat

INSTRUCT = "Instruct: {task}\nQuery: {query}"


@pytest.mark.parametrize(
    "template", ["{query}", INSTRUCT, "{task} {query}", "find: {query}", "{{x}} {task}: {query}"]
)
def test_query_is_taken_apart_as_it_was_made(template):
    wording = EmbedderPrompts(template, "text: ")
    [whole] = wording.write(["bees dance"], "query", ["Find flies."])
    if template != "{task} {query}":  # where the task ends is not written
        assert wording.split(whole, "query") == (
            wording.write_query_prompt("Find flies."),
            "bees dance",
        )
    [document] = wording.write(["bees dance"], "document")
    assert wording.split(document, "document") == ("text: ", "bees dance")


def test_template_that_tells_no_task_gives_one_text_for_all():
    wording = EmbedderPrompts("find: {query}")
    assert not wording.has_task
    assert wording.write(["a", "a"], "query", ["x", "y"]) == ["find: a"] * 2


def test_documents_may_be_written_with_their_titles():
    form = TextFormat(document_template="title: {title} | text: {text}")
    wording = EmbedderPrompts(document="title: none | text: ", titled=form)
    assert wording.write_document("dance", "Bees") == "title: Bees | text: dance"
    assert wording.write(["dance"], "document") == ["title: none | text: dance"]
    assert wording.split("title: Bees | text: dance", "document")[0] == "title: "
    untitled = wording.write_document("dance", "")
    assert wording.split(untitled, "document") == ("title: none | text: ", "dance")


def test_students_own_template_is_taken_by_its_names_alone():
    assert find_carried_template({}) is None
    template = find_carried_template({"query_template": "a {b} {task}: {query}"})
    assert EmbedderPrompts(template).write_query_prompt("x") == "a {b} x: "


def test_students_own_template_without_words_is_whole():
    carried = {"query": "Find the answer. ", "query_template": "{task} {query}"}
    wording = choose_prompts(EmbedderConfig(), "m", carried, NOTHING_PUBLISHED)
    assert wording.write(["bees"], "query", ["Sort them."]) == ["Sort them. bees"]


def test_prompt_with_braces_stays_as_it_is():
    wording = choose_prompts(EmbedderConfig(query_prompt="{task} {"), "m", {}, NOTHING_PUBLISHED)
    assert wording.write_query_prompt("x") == "{task} {"
    assert not wording.has_task


BAD = [
    "{query.__class__}",
    "{query!r}",
    "{query:>9}",
    "{foo} {query}",
    "{task",
    "{query} {task}",
    "{query}{query}",
    "no place",
    "",
]


@pytest.mark.parametrize("section", [Retriever, Teacher, EmbedderConfig])
@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            template,
            marks=pytest.mark.bad_input("template", f"query_template: {template!r}", "refused"),
        )
        for template in BAD
    ],
)
def test_wrong_template_is_refused_where_it_is_read(section, template):
    with pytest.raises(ValidationError, match="query_template"):
        section(query_template=template)


def test_recipe_names_the_key():
    for section in ("retriever", "teacher"):
        with pytest.raises(UserError, match=rf"{section}.*query_template"):
            load_recipe(None, ["name=x", f"{section}.query_template='{{x}}'"])


def test_old_name_of_a_teachers_template_is_still_read():
    teacher = Teacher(instruction_template="Do {instruction}: {query}")
    assert teacher.query_template == "Do {task}: {query}"
    assert Teacher(instruction_template=None) == Teacher()
    with pytest.raises(ValidationError, match="give that one alone"):
        Teacher(instruction_template="{instruction} {query}", query_template="{task} {query}")
