"""A teacher that a server embeds with: what it gives is what the same model gives in this process,
in training, in scores, in evaluation and in search."""

import json
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from helpers.fake_server import MODEL, reply_with_error, serve
from helpers.label_rows import OF_TEXTS, make_label, make_query, prepare_labels
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.cli import cli
from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model, load_served_model
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.evaluate.models.variants import make_asymmetric
from distill.export.provenance import NOT_STATED, list_ingredients
from distill.inspect.search import search_run
from distill.recipe import EmbedderConfig, Recipe, Teacher
from distill.store.run import Run
from distill.teacher.vectors import embed_with_teacher, identify_teacher, open_teacher

PROMPTS = {"query": "the sea: ", "document": "the air: "}
QUERIES = {f"q{i}": text[:24] for i, text in enumerate(TEXTS[:5])}
DOCUMENTS = dict(OF_TEXTS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A model that carries prompts of its own."""
    return make_tiny_encoder(tmp_path_factory.mktemp("teacher") / "t", seed=3, prompts=PROMPTS)


@pytest.fixture
def server(teacher):
    """Embeds texts as they arrive: prompts are the client's affair."""
    model = SentenceTransformer(str(teacher), device="cpu")

    def embeds(path, body):
        vectors = model.encode(body["input"], prompt="", show_progress_bar=False).tolist()
        return {"data": [{"index": i, "embedding": row} for i, row in enumerate(vectors)]}

    with serve(embeds) as server:
        yield server


def served(server, **more) -> dict:
    prompts = {f"{side}_prompt": prompt for side, prompt in PROMPTS.items()}
    return {"model": MODEL, "base_url": server.url, "max_tokens": 64, **prompts, **more}


def embedder(server, **more) -> EmbedderConfig:
    return EmbedderConfig(
        **{key: of for key, of in served(server, **more).items() if key != "model"}
    )


def recipe(**teacher) -> Recipe:
    return Recipe.model_validate({"name": "tiny", "teacher": teacher})


def test_served_teachers_vectors_are_those_of_the_model_and_are_asked_for_once(
    server, teacher, tmp_path
):
    def of(name, **settings):
        with Run(tmp_path / name) as run:
            rows = embed_with_teacher(run, recipe(**settings).teacher, QUERIES, DOCUMENTS)
            return np.concatenate(rows.parts)

    local = of("local", model=str(teacher), device="cpu", max_tokens=64)
    found = of("served", **served(server))
    np.testing.assert_allclose(found, local, atol=1e-6)
    asked = len(server.seen)
    assert np.array_equal(of("served", **served(server)), found)
    assert len(server.seen) == asked + 1  # how many dimensions it has


def test_served_teachers_address_is_no_part_of_a_fingerprint(server):
    here = Teacher(**served(server))
    elsewhere = Teacher(**served(server) | {"base_url": "http://localhost:1/v1", "retries": 0})
    assert identify_teacher(here, MODEL) == identify_teacher(elsewhere, MODEL)
    assert identify_teacher(here, MODEL) == open_teacher(here, MODEL).identity
    other = here.model_copy(update={"document_prompt": ""})
    assert identify_teacher(here, MODEL) != identify_teacher(other, MODEL)


def test_served_teacher_is_evaluated_under_its_prompts_or_the_tasks_instructions(
    server, encoder_folder
):
    settings = RunModelSettings.select(recipe(**served(server)))
    found = load_run_models(settings, {"base": encoder_folder})["teacher"]
    assert found.name == f"served/{MODEL}"
    assert [found.prompts.get_prompt(side) for side in PROMPTS] == [*PROMPTS.values()]
    template = "Instruct: {instruction}\nQuery: {query}"
    instructed = recipe(**served(server, instruction_template=template))
    told = load_run_models(RunModelSettings.select(instructed), {})["teacher"]
    assert told.prompts.wording.write_query_prompt("Find bees.") == "Instruct: Find bees.\nQuery: "


def test_search_asks_it_as_it_asks_the_model(server, teacher, encoder_folder, tmp_path):
    folder = tmp_path / "bees"
    with Run(folder) as run:
        prepare_labels(run, [make_query("q")], [[make_label("a", 1.0, 1)]], OF_TEXTS)
    shutil.copytree(encoder_folder, folder / "student")

    def found(**settings):
        of = {"name": "bees", "teacher": settings, "train": {"device": "cpu"}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(of))
        hits = search_run(folder, "bees dance", k=3).hits["teacher"]
        return [hit.passage["passage_id"] for hit in hits], [hit.similarity for hit in hits]

    local, similar = found(model=str(teacher), device="cpu", max_tokens=64)
    assert found(**served(server)) == (local, pytest.approx(similar, abs=1e-5))
    asked = len(server.seen)
    # Another instruction changes queries alone: no passage is paid for again.
    found(**served(server, instruction_template="Do {instruction}: {query}"))
    assert len(server.seen) == asked + 2


def test_search_takes_the_passages_that_training_has_embedded(server, encoder_folder, tmp_path):
    folder = tmp_path / "bees"
    of = {"name": "bees", "teacher": served(server), "train": {"device": "cpu"}}
    with Run(folder) as run:
        prepare_labels(run, [make_query("q")], [[make_label("a", 1.0, 1)]], OF_TEXTS)
        embed_with_teacher(run, Recipe.model_validate(of).teacher, QUERIES, OF_TEXTS)
    shutil.copytree(encoder_folder, folder / "student")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(of))
    asked = len(server.seen)
    search_run(folder, "bees dance", k=3)
    assert len(server.seen) == asked + 2  # the dimensions and the query


def test_compare_takes_it_from_the_command_line(server, teacher, encoder_folder, tmp_path):
    data = tmp_path / "data" / "mine"
    (data / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", OF_TEXTS), ("queries", QUERIES)):
        rows = [{"_id": key, "title": "", "text": text} for key, text in texts.items()]
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = zip(QUERIES, OF_TEXTS, strict=False)
    judged = "".join(f"{q}\t{d}\t1\n" for q, d in pairs)
    (data / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")

    def teachers(name, model, *words):
        asked = ["--tasks", "mine", "--task-data", data.parent, "--out", tmp_path / name]
        command = ["compare", encoder_folder, model, *asked, "--max-tokens", 64, *words]
        done = CliRunner().invoke(cli, [str(word) for word in command], catch_exceptions=False)
        assert done.exit_code == 0
        return json.loads((tmp_path / name / "summary.json").read_text())["models"]["teacher"]

    # The command gives a served model no prompts.
    plain = tmp_path / "plain"
    shutil.copytree(teacher, plain)
    config = plain / "config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prompts": {}}))
    local = teachers("local", plain)
    found = teachers("served", MODEL, "--base-url", server.url)
    assert found["tasks"] == local["tasks"]
    assert (found["model"], found["parameters"]) == (f"served/{MODEL}", None)


@pytest.mark.bad_input("secrets", "a teacher's key that is refused", "the variable named alone")
def test_key_that_is_refused_is_named_by_its_variable_alone(server, monkeypatch):
    monkeypatch.setenv("TEACHERS_KEY", "sk-not-for-anyone")
    server.faults.append(reply_with_error(401, "no such key: sk-not-for-anyone"))
    with pytest.raises(UserError, match=r"TEACHERS_KEY.*teacher\.api_key_variable") as caught:
        open_teacher(Teacher(**served(server, api_key_variable="TEACHERS_KEY")), MODEL)
    assert "sk-not" not in str(caught.value)


def test_served_teachers_licence_is_not_known(server):
    found = {of.role: of for of in list_ingredients(recipe(**served(server)))}
    assert (found["teacher"].name, found["teacher"].licence) == (MODEL, NOT_STATED)


@pytest.mark.parametrize(
    "other",
    [
        {"max_tokens": 3},
        {"query_prompt": "the moon: "},
        {"query_template": "a bee: {query}"},
        {"document_extra_body": {"input_type": "passage"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_asked_otherwise_its_results_are_others(server, teacher, other):
    def results(**more):
        return wrap_for_mteb(load_served_model(embedder(server, **more), MODEL))

    first, second = (of.mteb_model_meta.experiment_name for of in (results(), results(**other)))
    assert first != second
    assert len(second) < 200
    student = load_eval_model(teacher)

    def over(**more):
        documents = load_served_model(embedder(server, **more), MODEL)
        return make_asymmetric(student, documents).experiment

    assert over() != over(**other)


def test_search_heeds_the_fields_of_requests(server, encoder_folder, tmp_path):
    folder = tmp_path / "bees"
    fields = {"document_extra_body": {"input_type": "passage"}}
    of = {"name": "bees", "teacher": served(server, **fields), "train": {"device": "cpu"}}
    with Run(folder) as run:
        prepare_labels(run, [make_query("q")], [[make_label("a", 1.0, 1)]], OF_TEXTS)
        embed_with_teacher(run, Recipe.model_validate(of).teacher, QUERIES, OF_TEXTS)
    shutil.copytree(encoder_folder, folder / "student")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(of))
    asked = len(server.seen)
    search_run(folder, "bees dance", k=3)
    assert len(server.seen) == asked + 2  # the dimensions and the query
