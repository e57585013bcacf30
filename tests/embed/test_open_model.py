"""Published embedders run as they were published, or are refused: whatever role they have."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from helpers.published_models import edit_json, make_e5_mistral, make_gte_qwen2
from helpers.tiny_models import (
    TEXTS,
    make_tiny_cross_encoder,
    make_tiny_encoder,
    make_wordpiece_tokenizer,
)
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer
from transformers import RobertaConfig, RobertaModel

from distill.embed.open_embedder import load_encoder
from distill.embed.open_model import open_model
from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.models.bidirectional import can_see_later_tokens
from distill.recipe import EmbedderConfig, Retriever, Teacher
from distill.retrieve.corpus_index import identify_retriever, open_encoder
from distill.teacher.vectors import identify_teacher, open_teacher

CPU = EmbedderConfig(device="cpu", max_tokens=32)


def last_id(model):
    transformer = model[0]
    return transformer.tokenizer("a text of some words")["input_ids"][-1]


@pytest.fixture(params=["retriever", "teacher", "eval_model"])
def opened(request):
    """The model in a role: the sentence-transformers model behind it."""

    def of(folder, **settings):
        given = {"model": str(folder), "device": "cpu", "max_tokens": 32} | settings
        if request.param == "retriever":
            return open_encoder(Retriever(**given)).embedder.model
        if request.param == "teacher":
            return open_teacher(Teacher(**given), str(folder)).embedder.model
        return load_eval_model(folder, settings=EmbedderConfig(**settings, device="cpu")).model

    return of


# --- what its own code would have done ------------------------------------------------------------


def test_gte_qwen2_sees_both_ways_and_ends_in_the_end_of_sequence(tmp_path, opened):
    model = opened(make_gte_qwen2(tmp_path / "gte"))
    transformer = model[0]
    assert [can_see_later_tokens(transformer, transformer.tokenizer, p) for p in (0, 1)] == [
        True
    ] * 2
    assert last_id(model) == transformer.tokenizer.eos_token_id


def test_e5_mistral_keeps_its_beginning_and_gets_its_end(tmp_path, opened):
    model = opened(make_e5_mistral(tmp_path / "e5"))
    tokenizer = model[0].tokenizer
    ids = tokenizer("a text of some words")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    cut = tokenizer("word " * 90, truncation=True)["input_ids"]
    assert (cut[0], cut[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert not can_see_later_tokens(model[0], tokenizer, False)


@pytest.mark.bad_input(
    "model", "an embedder whose config names code of its own", "refused: that code is never run"
)
@pytest.mark.parametrize("code", ["modeling_own.OwnModel", "modeling_own.Qwen2Model"])
def test_code_that_nobody_knows_is_refused_until_somebody_vouches(tmp_path, opened, code):
    folder = make_gte_qwen2(tmp_path / "own", code)
    with pytest.raises(UserError, match=r"modeling_own.*never run") as caught:
        opened(folder)
    assert "bidirectional to true or false" in caught.value.remedy
    opened(folder, bidirectional=False)
    model = opened(folder, bidirectional=True)
    assert can_see_later_tokens(model[0], model[0].tokenizer, False)


def test_encoder_that_transformers_took_over_needs_no_voucher(tmp_path, opened):
    folder = make_tiny_encoder(tmp_path / "bert")
    edit_json(folder / "config.json", auto_map={"AutoModel": "someone/code--modeling.BertModel"})
    opened(folder)
    edit_json(folder / "config.json", auto_map={"AutoModel": "someone/code--modeling.MyBertModel"})
    with pytest.raises(UserError, match="MyBertModel"):
        opened(folder)


def test_end_of_sequence_may_be_asked_for_or_left_out(tmp_path, opened):
    folder = make_e5_mistral(tmp_path / "e5")
    assert last_id(opened(folder, append_eos=False)) != 1
    edit_json(folder / "tokenizer_config.json", add_eos_token=False)
    assert last_id(opened(folder)) != 1
    assert last_id(opened(folder, append_eos=True)) == 1


def test_corrections_of_a_models_attention_and_ending_are_part_of_fingerprints(tmp_path):
    folder = make_gte_qwen2(tmp_path / "gte")
    encoder = load_encoder(str(folder), CPU)
    assert (encoder.identity["attention"], encoder.identity["append_eos"]) == ("bidirectional", 1)
    of_retriever = identify_retriever(Retriever(model=str(folder)))
    of_teacher = identify_teacher(Teacher(model=str(folder)), str(folder))
    assert of_retriever["code"] == of_teacher["code"] == "modeling_qwen.Qwen2Model"
    assert load_eval_model(folder, device="cpu").experiment["attention"] == "bidirectional"


def test_decoder_kept_causal_has_another_fingerprint(tmp_path):
    folder = make_gte_qwen2(tmp_path / "gte")
    as_its_code, causal = (
        Retriever(model=str(folder), device="cpu", bidirectional=of) for of in (None, False)
    )
    assert identify_retriever(as_its_code) != identify_retriever(causal)


def test_float16_vectors_are_nearly_those_of_float32(tmp_path, opened):
    folder = make_e5_mistral(tmp_path / "e5")
    half, whole = opened(folder, dtype="bfloat16"), opened(folder)
    assert (half.dtype, whole.dtype) == (torch.bfloat16, torch.float32)


def test_half_precision_reaches_every_module(tmp_path):
    transformer = Transformer(str(make_tiny_encoder(tmp_path / "m").with_name("m-plain")))
    from sentence_transformers.sentence_transformer.modules import Dense

    modules = [transformer, Pooling(32, pooling_mode="mean"), Dense(32, 8)]
    SentenceTransformer(modules=modules).save_pretrained(str(tmp_path / "dense"))
    half = EmbedderConfig(device="cpu", dtype="bfloat16")
    encoder = load_encoder(str(tmp_path / "dense"), half)
    assert np.isfinite(encoder.encode(TEXTS, "document")).all()


# --- the words before texts -----------------------------------------------------------------------


def test_prompts_without_one_for_queries_are_reported_and_a_template_replaces_them(
    tmp_path, caplog
):
    folder = make_e5_mistral(tmp_path / "e5")
    with caplog.at_level(logging.WARNING):
        plain = load_encoder(str(folder), CPU)
    assert "web_search_query" in caplog.text
    assert "--embedder query_template" in caplog.text
    assert np.allclose(plain.encode(["bees"], "query"), plain.encode(["bees"], "document"))
    template = "Instruct: {task}\nQuery: {query}"
    told = load_encoder(str(folder), CPU.model_copy(update={"query_template": template}))
    one, other = (told.encode(["bees"], "query", [task]) for task in ("Find flies.", "Sort them."))
    assert not np.allclose(one, other)
    assert np.allclose(one, plain.encode(["Instruct: Find flies.\nQuery: bees"], "document"))


def test_local_model_takes_prompts(tmp_path):
    folder = make_tiny_encoder(tmp_path / "bge")
    settings = EmbedderConfig(device="cpu", query_prompt="find: ", document_prompt="text: ")
    encoder = load_encoder(str(folder), settings)
    plain = load_encoder(str(folder), EmbedderConfig(device="cpu"))
    assert np.allclose(encoder.encode(["bees"], "query"), plain.encode(["find: bees"], "query"))
    assert np.allclose(
        encoder.encode(["bees"], "document"), plain.encode(["text: bees"], "document")
    )


# --- what does not fit ----------------------------------------------------------------------------


def test_model_of_word_vectors_has_every_role(tmp_path, opened):
    backend = Tokenizer.from_str(make_wordpiece_tokenizer().backend_tokenizer.to_str())
    torch.manual_seed(0)
    static = StaticEmbedding(backend, embedding_dim=16)
    SentenceTransformer(modules=[static, Normalize()]).save_pretrained(str(tmp_path / "static"))
    assert opened(tmp_path / "static").encode(["bees"]).shape == (1, 16)
    encoder = load_encoder(str(tmp_path / "static"), CPU)
    assert encoder.identity["max_tokens"] == "all"
    assert encoder.encode([], "query").shape == (0, 16)
    assert encoder.encode(TEXTS, "document").shape == (len(TEXTS), 16)


def save_roberta(tmp_path):
    """Of 34 positions, two of which are never a token's, as a tokenizer does not know."""
    tokenizer = make_wordpiece_tokenizer()
    tokenizer.model_max_length = int(1e30)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=34,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    modules = [Transformer(str(tmp_path / "bare")), Pooling(32, pooling_mode="mean")]
    SentenceTransformer(modules=modules).save_pretrained(str(tmp_path / "roberta"))
    return tmp_path / "roberta"


@pytest.fixture
def roberta(tmp_path):
    return save_roberta(tmp_path)


@pytest.mark.bad_input("model", "a RoBERTa, and texts longer than its positions", "texts are cut")
def test_texts_are_cut_to_the_positions_that_tokens_have(roberta, opened):
    model = opened(roberta)
    assert model.max_seq_length == 32
    assert model.encode(["bees " * 70]).shape == (1, 32)
    encoder = load_encoder(str(roberta), EmbedderConfig(device="cpu", max_tokens=64))
    assert encoder.encode(["bees " * 70], "document").shape == (1, 32)


def pickled(folder):
    model = SentenceTransformer(str(folder), device="cpu")
    torch.save(model[0].model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)


def remote_module(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def other_shapes(folder):
    edit_json(folder / "config.json", hidden_size=64)


def other_kind(folder):
    edit_json(folder / "config.json", model_type="unheard-of")


def garbage_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{not json")


def lacking_a_weight(folder):
    drop_weight(folder, "encoder.layer.1.output.LayerNorm.weight")


def drop_weight(folder, name):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights[name]
    save_file(weights, path, {"format": "pt"})


BREAKS = [
    lacking_a_weight,
    pickled,
    without_tokenizer,
    remote_module,
    cut_weights,
    other_shapes,
    other_kind,
]
BREAKS.append(garbage_tokenizer)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(
            damage,
            marks=pytest.mark.bad_input(
                "model", f"an embedder: {damage.__name__.replace('_', ' ')}", "refused, named"
            ),
        )
        for damage in BREAKS
    ],
)
def test_damaged_embedder_is_refused_by_name(tmp_path, opened, damage):
    folder = make_tiny_encoder(tmp_path / "model")
    damage(folder)
    with pytest.raises(UserError) as caught:
        opened(folder)
    assert str(folder) in caught.value.where
    assert "trust_remote_code" not in str(caught.value)


@pytest.mark.bad_input("model", "a language model as an embedder", "refused")
def test_language_model_is_no_embedder(llm_folder, opened):
    with pytest.raises(UserError, match="is a language model"):
        opened(llm_folder)


@pytest.mark.bad_input("model", "a cross-encoder as an embedder", "refused")
def test_cross_encoder_is_no_embedder(tmp_path, opened):
    with pytest.raises(UserError, match="scores texts or pairs"):
        opened(make_tiny_cross_encoder(tmp_path / "cross"))


@pytest.mark.bad_input("model", "a Dense layer in a pickle alone", "refused, never read")
def test_no_module_is_read_from_a_pickle(tmp_path, opened):
    from sentence_transformers.sentence_transformer.modules import Dense

    transformer = Transformer(str(make_tiny_encoder(tmp_path / "m").with_name("m-plain")))
    modules = [transformer, Pooling(32, pooling_mode="mean"), Dense(32, 8)]
    SentenceTransformer(modules=modules).save_pretrained(str(tmp_path / "dense"))
    dense = tmp_path / "dense" / "2_Dense"
    torch.save(modules[2].state_dict(), dense / "pytorch_model.bin")
    (dense / "model.safetensors").unlink()
    with pytest.raises(UserError, match="pickle"):
        opened(tmp_path / "dense")


def test_head_that_nobody_reads_may_be_missing(tmp_path, opened):
    folder = make_tiny_encoder(tmp_path / "model")
    drop_weight(folder, "pooler.dense.weight")
    opened(folder)


@pytest.mark.bad_input("model", "a device that is not here", "refused, those that are named")
def test_device_that_is_not_here_is_named(encoder_folder):
    with pytest.raises(UserError, match="is not on this machine"):
        open_model(str(encoder_folder), EmbedderConfig(device="cuda:99"))


def test_vector_that_is_not_finite_names_the_way_out(tmp_path):
    folder = make_gte_qwen2(tmp_path / "gte")
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"] * 1e30
    weights["norm.weight"] = weights["norm.weight"] * 1e30
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(UserError, match="finite"):
        open_model(str(folder), EmbedderConfig(device="cpu", dtype="float16"))
    shutil.rmtree(folder)
