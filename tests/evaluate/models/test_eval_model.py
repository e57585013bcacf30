"""What is known of a model that enters the comparison."""

import json

import pytest
from helpers.tiny_models import make_tiny_encoder
from transformers import T5Config, T5EncoderModel

from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model, make_mteb_name
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.models.model_card import read_licence
from distill.recipe import EmbedderConfig

mteb = pytest.importorskip("mteb")


@pytest.fixture
def folder(tmp_path):
    return make_tiny_encoder(tmp_path / "demo" / "student")


def save_t5(folder):
    """The transformer's place is taken by one that computes its positions."""
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    words = json.loads((folder / "config.json").read_text())["vocab_size"]
    T5EncoderModel(T5Config(vocab_size=words, **sizes)).save_pretrained(folder)


def card(folder, head):
    (folder / "README.md").write_text(f"---\n{head}\n---\n# A model\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: other\nlicense_name: mine", "mine"),
        ("tags: [x]", None),
        ("license: [", None),
    ],
)
def test_licence_is_the_model_cards(folder, head, expected):
    card(folder, head)
    assert read_licence(folder) == expected


def test_metadata_for_mteb_holds_all_that_is_known(folder):
    card(folder, "license: apache-2.0")
    eval_model = load_eval_model(folder, device="cpu")
    meta = wrap_for_mteb(eval_model).mteb_model_meta
    assert (meta.name, meta.revision) == ("distill/demo-student", eval_model.revision)
    assert (meta.n_parameters, meta.embed_dim, meta.max_tokens) == (eval_model.parameters, 32, 64)
    assert (meta.license, meta.experiment_kwargs, meta.framework[0]) == (
        "apache-2.0",
        None,
        "Sentence Transformers",
    )
    assert 0 < meta.n_embedding_parameters < meta.n_parameters
    # As mteb reads it back from a result.
    stored = json.dumps(meta.to_dict())
    assert type(meta).model_validate_json_resolved(
        stored.replace('"is_cross_encoder": false, ', "")
    )


def test_licence_that_mteb_does_not_know_is_kept_from_it(folder):
    card(folder, "license: other\nlicense_name: mine")
    eval_model = load_eval_model(folder)
    assert eval_model.licence == "mine"
    assert wrap_for_mteb(eval_model).mteb_model_meta.license is None


def test_settings_that_depart_from_the_model_are_an_experiment(folder):
    eval_model = load_eval_model(
        folder, settings=EmbedderConfig(max_tokens=16, query_template="{task}: {query}")
    )
    assert eval_model.experiment.keys() == {"max_tokens", "prompts"}
    assert load_eval_model(folder, 64).experiment == {}


@pytest.mark.bad_input("models", "a folder that is no model", "refused by name")
def test_folder_that_is_no_model_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(UserError, match="does not load"):
        load_eval_model(tmp_path)


def test_files_that_are_not_loaded_do_not_count_as_size(folder):
    before = load_eval_model(folder).bytes_on_disk
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(bytes(100))
    card(folder, "license: apache-2.0")
    assert load_eval_model(folder).bytes_on_disk == before
    (folder / "chat_template.jinja").write_text("{{ x }}")
    assert load_eval_model(folder).bytes_on_disk == before + 7


def test_models_of_one_wheel_have_names_of_their_own():
    one, other = (f"wheel:pack==1.0/{path}/model#sha256=00" for path in ("small", "large"))
    assert make_mteb_name(one) == "wheel/pack-small-model"
    assert make_mteb_name(one) != make_mteb_name(other)


def test_model_without_a_limit_departs_from_nothing(folder):
    config = folder / "sentence_bert_config.json"
    config.unlink(missing_ok=True)
    tokenizer = folder / "tokenizer_config.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"model_max_length": 1e30}))
    save_t5(folder)
    eval_model = load_eval_model(folder)
    assert (eval_model.max_tokens, eval_model.experiment) == (None, {})
    assert load_eval_model(folder, 16).experiment == {"max_tokens": 16}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"query": "for search: ", "document": "a page: "}),
        ({"query_prompt": "mine: "}, {"query": "mine: ", "document": "a page: "}),
        ({"query_template": "mine: {query}"}, {"query": "mine: ", "document": "a page: "}),
        ({"document_prompt": "ours: "}, {"query": "for search: ", "document": "ours: "}),
    ],
)
def test_prompts_of_the_settings_replace_the_models_prompts_for_tasks(tmp_path, settings, expected):
    """As in training and search, which know no tasks."""
    carried = {"query": "q: ", "Retrieval-query": "for search: ", "Retrieval-document": "a page: "}
    folder = make_tiny_encoder(tmp_path / "tasks", prompts=carried)
    prompts = load_eval_model(folder, settings=EmbedderConfig(device="cpu", **settings)).prompts
    task = mteb.get_task("SciFact").metadata
    assert {side: prompts.choose_prompt(task, side) for side in expected} == expected
