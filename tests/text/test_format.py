"""How texts are written for a student, and that a saved model says it by itself."""

import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from distill.recipe import Student
from distill.student.build import build_student
from distill.text.format import TextFormat

GECKO = TextFormat("task: {task} | query: {query}", "title: {title} | text: {text}")


def test_text_format_puts_a_title_where_the_template_has_it():
    assert "".join(GECKO.write_document("Bees dance.", "Bees")) == "title: Bees | text: Bees dance."
    assert "".join(GECKO.write_document("Bees dance.", " ")) == "title: none | text: Bees dance."
    assert GECKO.document_prompt == "title: none | text: "
    plain = TextFormat("{query}", "passage: {text}")
    assert plain.write_document("Bees dance.", "Bees") == ("passage: ", "Bees Bees dance.")


def test_text_format_keeps_braces_in_titles_and_tasks():
    assert "".join(GECKO.write_document("b", "{text}")) == "title: {text} | text: b"
    assert "".join(GECKO.write_query("q", "{query}")) == "task: {query} | query: q"


def test_text_format_is_saved_with_the_model(tmp_path, encoder_folder):
    student = Student(
        encoder=str(encoder_folder),
        query_template=GECKO.query_template,
        document_template=GECKO.document_template,
        default_task="Find it.",
    )
    build_student(student, 1).save(str(tmp_path / "model"))
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    templates = loaded.prompts["query_template"], loaded.prompts["document_template"]
    assert TextFormat(*templates) == GECKO
    assert loaded.prompts["query"] == "task: Find it. | query: "
    assert loaded.prompts["document"] == "title: none | text: "


def test_older_recipes_document_prompt_is_a_template():
    older = Student.model_validate({"document_prompt": "text: "})
    assert older.document_template == "text: {text}"
    assert older.list_fingerprinted()["document_prompt"] == "text: "
    with pytest.raises(ValidationError, match="say the same"):
        Student.model_validate({"document_prompt": "a", "document_template": "b{text}"})


@pytest.mark.bad_input(
    "recipe", "a document template that does not end in its text", "refused, naming the key"
)
@pytest.mark.parametrize("template", ["{text} of {title}", "{title} {title} {text}", ""])
def test_template_that_is_none_is_refused(template):
    with pytest.raises(ValidationError, match="document_template"):
        Student(document_template=template)


def test_key_that_came_later_changes_no_fingerprint():
    settings = Student().list_fingerprinted()
    assert settings["document_prompt"] == ""
    assert not {"symmetric", "document_template"} & settings.keys()
    assert Student(symmetric=["sts"]).list_fingerprinted()["symmetric"] == ["sts"]
