"""What mteb knows of published models reaches the texts that are embedded."""

import logging
import subprocess
import sys

import pytest
from helpers.tiny_models import make_tiny_encoder

from distill.embed.open_embedder import identify_embedder, load_encoder
from distill.embed.published import find_hub_id, look_up_published
from distill.evaluate.models.eval_model import load_eval_model
from distill.recipe import EmbedderConfig, Teacher
from distill.teacher.vectors import uses_tasks

mteb = pytest.importorskip("mteb")

BGE, E5, NOMIC = "BAAI/bge-base-en-v1.5", "intfloat/e5-base-v2", "nomic-ai/nomic-embed-text-v1.5"
MISTRAL = "intfloat/e5-mistral-7b-instruct"
TEMPLATE = "Instruct: {task}\nQuery: {query}"


@pytest.fixture
def folder(tmp_path):
    return make_tiny_encoder(tmp_path / "model")


def prompt_of(eval_model, task, side):
    return eval_model.prompts.choose_prompt(mteb.get_task(task).metadata, side)


@pytest.mark.parametrize(
    ("name", "query", "document"),
    [
        (BGE, "Represent this sentence for searching relevant passages: ", ""),
        (E5, "query: ", "passage: "),
        (NOMIC, "search_query: ", "search_document: "),
    ],
)
def test_published_model_has_its_prompts_in_every_role(folder, name, query, document):
    settings = EmbedderConfig(device="cpu", known_as=name)
    wording = load_encoder(str(folder), settings).wording
    assert (wording.write_query_prompt(), wording.document) == (query, document)
    eval_model = load_eval_model(folder, settings=settings)
    assert prompt_of(eval_model, "SciFact", "query") == query
    assert prompt_of(eval_model, "SciFact", "document") == document
    assert eval_model.experiment.keys() == {"prompts"}, "earlier results had none"


def test_prompts_by_category_are_mtebs(folder):
    eval_model = load_eval_model(folder, settings=EmbedderConfig(device="cpu", known_as=NOMIC))
    assert prompt_of(eval_model, "STSBenchmark", None) == "classification: "
    bge = load_eval_model(folder, settings=EmbedderConfig(device="cpu", known_as=BGE))
    assert prompt_of(bge, "STSBenchmark", None) == ""


@pytest.mark.parametrize(
    "name", [MISTRAL, "Alibaba-NLP/gte-Qwen2-7B-instruct", "nvidia/NV-Embed-v2"]
)
def test_instructed_model_has_its_template(folder, name, caplog):
    settings = EmbedderConfig(device="cpu", known_as=name)
    with caplog.at_level(logging.WARNING, "distill"):
        eval_model = load_eval_model(folder, settings=settings)
    assert caplog.text == ""
    assert eval_model.prompts.wording.template == TEMPLATE
    assert "scientific claim" in prompt_of(eval_model, "SciFact", "query")
    assert prompt_of(eval_model, "SciFact", "document") == ""
    assert prompt_of(eval_model, "STSBenchmark", None).startswith("Instruct: Retrieve semantically")
    assert uses_tasks(Teacher(model=str(folder), known_as=name))
    assert not uses_tasks(Teacher(model=str(folder), known_as=BGE))


def test_settings_come_before_what_is_known(folder):
    given = EmbedderConfig(
        device="cpu", known_as=BGE, query_prompt="ask: ", document_prompt="text: "
    )
    wording = load_encoder(str(folder), given).wording
    assert (wording.write_query_prompt(), wording.document) == ("ask: ", "text: ")
    given = EmbedderConfig(device="cpu", known_as=MISTRAL, query_template="find {task}: {query}")
    wording = load_encoder(str(folder), given).wording
    assert wording.write_query_prompt("bees") == "find bees: "
    # Gecko's has no words of its own: the model's stay.
    given = EmbedderConfig(device="cpu", known_as=E5, query_template="{task} {query}")
    wording = load_encoder(str(folder), given).wording
    assert wording.write_query_prompt("bees") == "query: bees "


def test_published_name_of_an_embedder_is_part_of_fingerprints(folder):
    def of(name):
        return identify_embedder(EmbedderConfig(device="cpu", known_as=name), str(folder))

    assert "published" not in of(None)
    assert len({str(of(name)) for name in (None, BGE, E5, MISTRAL)}) == 4


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("BAAI/bge-base-en-v1.5", "BAAI/bge-base-en-v1.5"),
        ("BAAI/bge-base-en-v1.5@abc", "BAAI/bge-base-en-v1.5"),
        ("wheel:bge==1.0/model#sha256=00", None),
    ],
)
def test_name_is_the_references(reference, expected):
    assert find_hub_id(reference) == expected


def test_folder_of_the_hubs_cache_has_its_name(tmp_path):
    snapshot = tmp_path / "models--BAAI--bge-base-en-v1.5" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    assert find_hub_id(str(snapshot)) == "BAAI/bge-base-en-v1.5"
    assert find_hub_id(str(tmp_path)) is None
    assert (
        look_up_published(str(snapshot), EmbedderConfig()).prompts["query"].startswith("Represent")
    )


def test_prompts_of_the_files_are_used_without_mteb_with_a_notice(monkeypatch, caplog):
    from distill.embed import published

    published._look_up_in_mteb.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, "distill"):
        assert look_up_published(BGE, EmbedderConfig()) == published.NOTHING_PUBLISHED
    published._look_up_in_mteb.cache_clear()
    assert "mteb" in caplog.text


def list_large_modules(code):
    """Those of the large libraries that another process has imported after this code."""
    ends = "import sys; print(*{'mteb', 'torch', 'transformers', 'httpx'} & {*sys.modules})"
    command = [sys.executable, "-c", f"{code}; {ends}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_published_settings_are_read_from_mteb_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path))
    look_up = (
        "from distill.embed.published import look_up_published; "
        "from distill.recipe import EmbedderConfig; "
        f"of = look_up_published({E5!r}, EmbedderConfig()).prompts; "
        "assert of == {'query': 'query: ', 'document': 'passage: '}, of"
    )
    assert "mteb" in list_large_modules(look_up)
    assert list_large_modules(look_up) == []


@pytest.mark.bad_input("damage", "kept prompts of a published model", "read from mteb again")
@pytest.mark.parametrize("damage", ["", "{}", '{"sha256": "00", "settings": {"document": "x"}}'])
def test_kept_settings_that_are_damaged_are_read_again(tmp_path, monkeypatch, damage):
    from distill.embed import published

    monkeypatch.setenv("DISTILL_CACHE", str(tmp_path))
    published._look_up_in_mteb.cache_clear()
    known = look_up_published(MISTRAL, EmbedderConfig())
    (file,) = tmp_path.glob("published/*.json")
    whole = file.read_bytes()
    file.write_text(damage)
    published._look_up_in_mteb.cache_clear()
    assert look_up_published(MISTRAL, EmbedderConfig()) == known
    assert file.read_bytes() == whole
    published._look_up_in_mteb.cache_clear()
