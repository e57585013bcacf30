"""What a student does not take over from its encoder is said, with the setting that keeps it."""

import logging

import pytest
from helpers.tiny_models import add_own_code, make_tiny_encoder
from helpers.training_by_hand import make_recipe
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)

from distill.errors import UserError
from distill.store.run import Run
from distill.student.build import build_base, build_student


@pytest.fixture
def said(tmp_path, caplog):
    def of(encoder, **student):
        recipe = make_recipe(encoder, encoder, student={"encoder": str(encoder), **student})
        with caplog.at_level(logging.WARNING, "distill"), Run(tmp_path / "run") as run:
            build_base(run, recipe.student, recipe.seed)
        ours = (record for record in caplog.records if record.name.startswith("distill"))
        return [record.getMessage() for record in ours]

    return of


@pytest.fixture
def embedder(tmp_path):
    """CLS pooling, a Dense layer, and prompts."""
    transformer = Transformer(str(make_tiny_encoder(tmp_path / "m").with_name("m-plain")))
    modules = [transformer, Pooling(32, pooling_mode="cls"), Dense(32, 8), Normalize()]
    prompts = {"query": "find: ", "document": ""}
    SentenceTransformer(modules=modules, prompts=prompts).save_pretrained(str(tmp_path / "e"))
    return tmp_path / "e"


def test_pooling_layers_and_prompts_are_named(said, embedder):
    pooling, dense, prompt = said(embedder, pooling="mean")
    assert "pools by cls, and the student by mean; student.pooling: cls keeps it" in pooling
    assert "Dense" in dense
    assert "'find: '" in prompt
    assert "student.query_template" in prompt


def test_parts_that_the_student_leaves_out_are_named_alone(said, embedder):
    found = said(embedder, pooling="cls", query_template="find: {query}")
    assert len(found) == 1
    assert "Dense" in found[0]


def test_encoder_that_is_taken_over_whole_has_no_notice(said, encoder_folder):
    assert said(encoder_folder, pooling="mean") == []


def test_language_model_has_no_notice(said, llm_folder):
    assert said(llm_folder, pooling="mean") == []


@pytest.mark.bad_input("student", "a RoBERTa of few positions as encoder", "texts are cut to them")
def test_student_reads_no_more_than_it_has_positions_for(tmp_path):
    from embed.test_open_model import save_roberta

    folder = save_roberta(tmp_path)
    recipe = make_recipe(folder, folder, student={"encoder": str(folder), "max_tokens": 64})
    model = build_student(recipe.student, 1)
    assert model.max_seq_length == 32
    assert model.encode(["bees " * 70]).shape == (1, 32)


@pytest.mark.bad_input("student", "an encoder whose files lack a weight", "refused, named")
def test_encoder_that_lacks_weights_is_refused(tmp_path):
    from embed.test_open_model import lacking_a_weight

    folder = make_tiny_encoder(tmp_path / "torn")
    lacking_a_weight(folder)
    recipe = make_recipe(folder, folder, student={"encoder": str(folder)})
    with pytest.raises(UserError, match=r"lack the weights encoder\.layer\.1"):
        build_student(recipe.student, 1)


@pytest.mark.bad_input("student", "an encoder with code of its own", "refused, never run")
def test_encoder_with_code_of_its_own_is_refused(tmp_path):
    from helpers.published_models import edit_json

    folder = make_tiny_encoder(tmp_path / "jina")
    edit_json(folder / "config.json", auto_map={"AutoModel": "modeling.JinaBertModel"})
    recipe = make_recipe(folder, folder, student={"encoder": str(folder)})
    with pytest.raises(UserError, match=r"JinaBertModel, which is never run"):
        build_student(recipe.student, 1)


@pytest.mark.parametrize("module", [True, False])
@pytest.mark.bad_input(
    "student", "an encoder with code of its own to load it", "refused, never run"
)
def test_advice_to_trust_code_is_not_passed_on(tmp_path, module):
    folder = make_tiny_encoder(tmp_path / "coded")
    name = add_own_code(folder, module)
    recipe = make_recipe(folder, folder, student={"encoder": str(folder)})
    with pytest.raises(UserError, match="which is never run") as caught:
        build_student(recipe.student, 1)
    assert name in str(caught.value)
    assert "trust_remote_code" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "prompts"), [("cls", {}), ("lasttoken", {}), ("mean", {"query": "query: "})]
)
def test_prompts_and_pooling_of_a_model_of_two_modules_are_named_where_left_out(
    said, tmp_path, mode, prompts
):
    transformer = Transformer(str(make_tiny_encoder(tmp_path / "m").with_name("m-plain")))
    modules = [transformer, Pooling(32, pooling_mode=mode)]
    SentenceTransformer(modules=modules, prompts=prompts).save_pretrained(str(tmp_path / "two"))
    (line,) = said(tmp_path / "two", pooling="mean")
    assert ("'query: '" if prompts else mode.removesuffix("token")) in line
