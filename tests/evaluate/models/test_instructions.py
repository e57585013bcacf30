"""Students, bases and teachers are told each task, each by its own template; titles are written as
they were in training."""

import json

import numpy as np
import pytest
from helpers.tiny_models import TEXTS, make_tiny_encoder

from distill.evaluate.models.eval_model import load_any_model, load_eval_model
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.models.run_models import (
    RunModelSettings,
    check_prompts,
    load_run_models,
)
from distill.evaluate.passage_search import make_encoder
from distill.recipe import EmbedderConfig, Recipe
from distill.store.run import Run
from distill.student.build import build_base
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")

TEMPLATE = "Instruct: {task}\nQuery: {query}"
SCIENTIFIC = (
    "Instruct: Given a scientific claim, retrieve documents that support or refute the claim\n"
    "Query: "
)


def recipe_of(encoder, **sections) -> Recipe:
    student = {
        "encoder": str(encoder),
        "query_template": TEMPLATE,
        "document_template": "title: {title} | text: {text}",
        "default_task": "Find bees.",
    }
    return Recipe.model_validate(
        {"name": "told", "student": student, "train": {"device": "cpu"}, **sections}
    )


@pytest.fixture
def base(tmp_path, encoder_folder):
    with Run(tmp_path / "run") as run:
        recipe = recipe_of(encoder_folder)
        return build_base(run, recipe.student, recipe.seed).folder


def before(eval_model, task, side):
    return eval_model.prompts.choose_prompt(mteb.get_task(task).metadata, side)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("STSBenchmark", "semantically similar"),
        ("Banking77Classification", "online banking query"),
        ("SprintDuplicateQuestions", "duplicate questions"),
        ("TwentyNewsgroupsClustering.v2", "topic"),
    ],
)
def test_student_gets_each_task_and_both_sides_are_queries(base, task, words):
    told = before(load_eval_model(base, device="cpu"), task, None)
    assert told.startswith("Instruct: ")
    assert words in told
    assert told.endswith("\nQuery: ")


def test_searches_have_the_tasks_words_or_those_of_training(base, task_data):
    eval_model = load_eval_model(base, device="cpu")
    assert before(eval_model, "SciFact", "query") == SCIENTIFIC
    mine = load_task("mine", task_data)
    assert (
        eval_model.prompts.choose_prompt(mine.metadata, "query") == "Instruct: Find bees.\nQuery: "
    )
    assert eval_model.experiment.keys() == {"prompts"}, "earlier results were without instruction"


def test_switched_off_one_task_stands_for_all(base):
    eval_model = load_eval_model(base, device="cpu", instructions=False)
    assert before(eval_model, "SciFact", "query") == "Instruct: Find bees.\nQuery: "
    assert before(eval_model, "STSBenchmark", None) == ""


def test_student_of_an_earlier_version_is_recognised_by_its_manifest(tmp_path):
    """Its configuration holds the prompt of one task alone."""
    query = "Instruct: Find bees.\nQuery: "
    folder = make_tiny_encoder(tmp_path / "student", prompts={"query": query, "document": ""})
    student = {"query_template": TEMPLATE, "default_task": "Find bees.", "document_prompt": ""}
    (folder / ".stage").mkdir()
    manifest = folder / ".stage" / "manifest.json"
    manifest.write_text(json.dumps({"settings": {"student": student}}))
    eval_model = check_prompts(load_eval_model(folder, device="cpu"), {})
    assert before(eval_model, "SciFact", "query") == SCIENTIFIC
    assert before(
        load_eval_model(folder, device="cpu", instructions=False), "SciFact", "query"
    ) == (query)
    # The base's manifest has the settings themselves.
    manifest.write_text(json.dumps({"settings": student}))
    assert before(load_eval_model(folder, device="cpu"), "SciFact", "query") == SCIENTIFIC


def test_student_of_symmetric_pairs_writes_both_sides_as_queries(tmp_path):
    folder = make_tiny_encoder(tmp_path / "student", prompts={"query": "find: ", "document": ""})
    student = {"query_template": "find: {query}", "default_task": "x", "document_prompt": ""}
    (folder / ".stage").mkdir()
    manifest = folder / ".stage" / "manifest.json"
    for symmetric, expected in ((["sts"], "find: "), ([], "")):
        of = {"settings": {"student": student | {"symmetric": symmetric}}}
        manifest.write_text(json.dumps(of))
        eval_model = check_prompts(load_eval_model(folder, device="cpu"), {})
        assert before(eval_model, "STSBenchmark", None) == expected
        assert ("prompts" in eval_model.experiment) == bool(symmetric)


def test_student_base_and_teacher_of_a_run_get_the_task_by_their_own_templates(
    base, teacher_folder, encoder_folder
):
    teacher = {"model": str(teacher_folder), "query_template": "do {task}: {query}"}

    def told(**evaluate):
        recipe = recipe_of(encoder_folder, teacher=teacher, evaluate=evaluate)
        found = load_run_models(RunModelSettings.select(recipe), {"base": base, "student": base})
        return {role: before(of, "SciFact", "query") for role, of in found.items()}

    claim = SCIENTIFIC.removeprefix("Instruct: ").removesuffix("\nQuery: ")
    assert told() == {"base": SCIENTIFIC, "student": SCIENTIFIC, "teacher": f"do {claim}: "}
    off = told(instructions=False)
    assert off["student"] == off["base"] == "Instruct: Find bees.\nQuery: "
    assert claim not in off["teacher"]


def test_instructions_change_nothing_for_a_base_made_from_an_instructed_student(base, tmp_path):
    """Hence `evaluate.instructions` is not in the fingerprint of such an evaluation."""
    plain = {"encoder": str(base), "query_template": "find: {query}", "default_task": "Find bees."}
    sections = {"name": "plain", "student": plain, "train": {"device": "cpu"}}
    with Run(tmp_path / "plain") as run:
        recipe = Recipe.model_validate(sections)
        folder = build_base(run, recipe.student, recipe.seed).folder
    prompts = []
    for instructions in (True, False):
        recipe = Recipe.model_validate(sections | {"evaluate": {"instructions": instructions}})
        models = load_run_models(
            RunModelSettings.select(recipe), {"base": folder, "student": folder}
        )
        prompts.append(
            [
                (before(model, task, side), model.experiment)
                for model in models.values()
                for task, side in (("SciFact", "query"), ("STSBenchmark", None))
            ]
        )
    assert prompts[0] == prompts[1]


def test_documents_are_written_with_their_titles_as_in_training(base, tmp_path):
    folder = tmp_path / "data" / "mine"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": "a", "title": "Bees", "text": TEXTS[3]}, {"_id": "b", "text": TEXTS[0]}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "bees"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    eval_model = load_eval_model(base, device="cpu")
    seen: list[str] = []
    embed = eval_model.embedder.embed

    def watched(texts, prompt, side):
        seen.extend(prompt + text for text in texts)
        return embed(texts, prompt, side)

    eval_model.embedder.embed = watched
    task = load_task("mine", tmp_path / "data")
    mteb.evaluate(wrap_for_mteb(eval_model), task, cache=None, overwrite_strategy="always")
    assert set(seen) == {
        f"title: Bees | text: {TEXTS[3]}",
        f"title: none | text: {TEXTS[0]}",
        "Instruct: Find bees.\nQuery: bees",
    }


def test_search_writes_them_so_too(base):
    encoder = make_encoder(load_eval_model(base, device="cpu"))
    whole = encoder.wording.write_document("They dance.", "Bees")
    assert whole == "title: Bees | text: They dance."
    plain = load_eval_model(base, device="cpu").embedder
    found = encoder.encode_prompted([whole], "document")
    assert np.allclose(found, plain.embed([whole], "", "document"), atol=1e-6)
    found = encoder.encode(["bees"], "query", ["Find flies."])
    expected = plain.embed(["Instruct: Find flies.\nQuery: bees"], "", "query")
    assert np.allclose(found, expected, atol=1e-6)


def test_teacher_is_one_model_in_training_evaluation_and_search(tmp_path, teacher_folder):
    settings = EmbedderConfig(device="cpu", max_tokens=32, query_template="do {task}: {query}")
    from distill.embed.open_embedder import open_embedder

    trained = open_embedder(settings, str(teacher_folder))
    eval_model = load_any_model(settings, str(teacher_folder))
    [of_training] = trained.encode(["bees"], "query", ["Find flies."])
    [of_evaluation] = eval_model.embedder.embed(
        ["bees"], eval_model.prompts.wording.write_query_prompt("Find flies."), "query"
    )
    [of_search] = make_encoder(eval_model).encode(["bees"], "query", ["Find flies."])
    assert np.allclose(of_training, of_evaluation, atol=1e-6)
    assert np.allclose(of_training, of_search, atol=1e-6)
