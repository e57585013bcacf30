"""Which prompt stands before a text, and that it is training's."""

import json

import pytest
from helpers.tiny_models import make_tiny_encoder

from distill.embed.published import NOTHING_PUBLISHED
from distill.embed.wording import EmbedderPrompts, choose_prompts
from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.evaluate.models.prompts import EvalPrompts
from distill.evaluate.models.run_models import check_prompts
from distill.recipe import EmbedderConfig

mteb = pytest.importorskip("mteb")

NAMED = {
    "query": "q: ",
    "document": "d: ",
    "STS": "s: ",
    "Retrieval-query": "rq: ",
    "NFCorpus": "nf: ",
    "ArguAna-document": "ad: ",
}


@pytest.mark.parametrize(
    ("task", "side", "expected"),
    [
        ("SciFact", "query", "rq: "),
        ("SciFact", "document", "d: "),
        ("NFCorpus", "query", "nf: "),
        ("ArguAna", "document", "ad: "),
        ("STSBenchmark", None, "s: "),
        ("Banking77Classification", None, ""),
        ("SprintDuplicateQuestions", None, ""),
        ("AskUbuntuDupQuestions", "query", "q: "),
    ],
)
def test_most_particular_of_the_models_prompts_is_taken(task, side, expected):
    wording = choose_prompts(EmbedderConfig(), "model", NAMED, NOTHING_PUBLISHED)
    assert (
        EvalPrompts(NAMED, wording=wording).choose_prompt(mteb.get_task(task).metadata, side)
        == expected
    )


def test_default_prompt_is_taken_without_sides_only_if_named():
    task = mteb.get_task("Banking77Classification").metadata
    assert (
        EvalPrompts({"query": "q: ", "cls": "c: "}, default="cls").choose_prompt(task, None)
        == "c: "
    )
    assert EvalPrompts({"query": "q: "}).choose_prompt(task, None) == ""


def test_documents_prompt_may_be_called_passage():
    task = mteb.get_task("SciFact").metadata
    named = {"passage": "p: "}
    wording = choose_prompts(EmbedderConfig(), "model", named, NOTHING_PUBLISHED)
    assert EvalPrompts(named, wording=wording).choose_prompt(task, "document") == "p: "


def test_instructed_model_gets_the_task_for_queries_and_not_for_documents():
    prompts = EvalPrompts({}, wording=EmbedderPrompts("Instruct: {task}\nQuery: {query}"))
    scifact = mteb.get_task("SciFact").metadata
    assert prompts.choose_prompt(scifact, "document") == ""
    assert prompts.choose_prompt(scifact, "query") == (
        "Instruct: Given a scientific claim, retrieve documents that support or refute the claim\n"
        "Query: "
    )
    banking = mteb.get_task("Banking77Classification").metadata
    assert "online banking query" in prompts.choose_prompt(banking, None)
    # A category's own words, where the task has none.
    plain = mteb.get_task("SICK-R").metadata.model_copy(update={"prompt": None})
    assert prompts.choose_prompt(plain, None).startswith(
        "Instruct: Retrieve semantically similar text"
    )


# --- the prompts of training ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return make_tiny_encoder(tmp_path / "model", prompts={"query": "find: ", "document": ""})


def trained_with(folder, **settings):
    student = {"query_template": "find: {query}", "default_task": "x", "document_prompt": ""}
    (folder / ".stage").mkdir()
    manifest = {"settings": {"student": student | settings}}
    (folder / ".stage" / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.bad_input("prompt", "other prompts than in training", "refused unless forced")
def test_prompts_unlike_the_models_own_are_refused_unless_forced(folder):
    eval_model = load_eval_model(folder)
    assert check_prompts(eval_model, {}) == eval_model
    check_prompts(eval_model, {"query": "find: "})
    with pytest.raises(UserError, match=r"query prompt 'ask: '.*trained with 'find: '"):
        check_prompts(eval_model, {"query": "ask: "})
    with pytest.raises(UserError, match="document prompt"):
        check_prompts(eval_model, {"document": "say: "})
    forced = check_prompts(eval_model, {"query": "ask: "}, force=True)
    task = mteb.get_task("SciFact").metadata
    assert forced.prompts.choose_prompt(task, "query") == "ask: "
    assert forced.experiment.keys() == {"prompts"}, "its results stand apart"


@pytest.mark.bad_input("models", "a student whose configuration was changed", "refused")
def test_configuration_changed_since_training_is_refused(folder):
    trained_with(folder, query_template="{task} {query}", default_task="Find it.")
    with pytest.raises(UserError, match=r"'find: '.*trained with 'Find it. '"):
        check_prompts(load_eval_model(folder), {})
    check_prompts(load_eval_model(folder), {}, force=True)


def test_student_is_instructed_as_it_was_trained_or_not_at_all(tmp_path):
    prompts = {"query": "find: books\n", "document": ""}
    folder = make_tiny_encoder(tmp_path / "student", prompts=prompts)
    trained_with(folder, query_template="find: {task}\n{query}", default_task="books")
    check_prompts(load_eval_model(folder), {})
    check_prompts(
        load_eval_model(folder, settings=EmbedderConfig(query_template="find: {task}\n{query}")), {}
    )
    other = load_eval_model(
        folder, settings=EmbedderConfig(query_template="Instruct: {task}\n{query}")
    )
    with pytest.raises(UserError, match="query template"):
        check_prompts(other, {})


def test_model_that_says_nothing_of_prompts_takes_any(tmp_path):
    eval_model = load_eval_model(make_tiny_encoder(tmp_path / "model"))
    assert check_prompts(eval_model, {"query": "query: "}).prompts.get_prompt("query") == "query: "
