"""A cross-encoder's scores: raw, its own for each pair, and refused where they mean nothing."""

import shutil

import pytest
import torch
from helpers.tiny_models import TEXTS, add_own_code, make_tiny_cross_encoder
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill.errors import UserError
from distill.retrieve.cross_encoder import CrossEncoderJudge

QUERIES = ["why do bees dance", "tides", "how far can an owl turn its head to look behind"]
REQUESTS = [
    (TEXTS[3], QUERIES),
    (TEXTS[6], QUERIES[1:]),
    (" ".join(TEXTS[:2]), []),
    (TEXTS[8], QUERIES[:1]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_cross_encoder(tmp_path_factory.mktemp("models") / "cross")


@pytest.fixture(scope="module")
def judge(folder) -> CrossEncoderJudge:
    return CrossEncoderJudge(str(folder), 64, "cpu")


def logit(folder, query, passage, max_tokens=64) -> float:
    """By transformers alone: one pair, no padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = tokenizer(query, passage, return_tensors="pt", truncation=True, max_length=max_tokens)
    with torch.inference_mode():
        return float(model(**read).logits[0, 0])


def test_pairs_get_their_raw_logit(judge, folder):
    judged = judge.judge(REQUESTS)
    assert [len(of_passage) for of_passage in judged] == [3, 2, 0, 1]
    for (passage, queries), of_passage in zip(REQUESTS, judged, strict=True):
        for query, (score, tokens) in zip(queries, of_passage, strict=True):
            assert score == pytest.approx(logit(folder, query, passage), abs=1e-4)
            assert tokens == 0


def test_scores_do_not_depend_on_what_is_judged_beside(judge, monkeypatch):
    together = judge.judge(REQUESTS)
    for request, expected in zip(REQUESTS, together, strict=True):
        [alone] = judge.judge([request])
        assert [s for s, _ in alone] == pytest.approx([s for s, _ in expected], abs=1e-4)
    monkeypatch.setattr(judge, "_batch_tokens", 1)
    one_by_one = judge.judge(REQUESTS[::-1])[::-1]
    for found, expected in zip(one_by_one, together, strict=True):
        assert [s for s, _ in found] == pytest.approx([s for s, _ in expected], abs=1e-4)
    assert judge.judge([]) == []


def test_long_pair_loses_the_end_of_its_passage(folder):
    short = CrossEncoderJudge(str(folder), 24, "cpu")
    passage = " ".join(TEXTS)
    [[(score, _)]] = short.judge([(passage, QUERIES[:1])])
    assert score == pytest.approx(logit(folder, QUERIES[0], passage, 24), abs=1e-4)
    assert score != pytest.approx(logit(folder, "", passage, 24), abs=1e-4)
    assert short.identity["max_tokens"] == 24
    # No more than the model can read.
    assert CrossEncoderJudge(str(folder), 512, "cpu").identity["max_tokens"] == 64


@pytest.mark.bad_input("models", "a cross-encoder of several scores", "refused")
def test_models_that_give_a_pair_no_single_score_are_refused(tmp_path, encoder_folder):
    several = make_tiny_cross_encoder(tmp_path / "three", labels=3)
    with pytest.raises(UserError, match="3 labels"):
        CrossEncoderJudge(str(several), 64, "cpu")
    # An embedder loads as a cross-encoder too, with a random last layer.
    with pytest.raises(UserError, match="not trained to score pairs"):
        CrossEncoderJudge(str(encoder_folder), 64, "cpu")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "notes.txt").write_text("no model")
    with pytest.raises(UserError, match="cannot be loaded"):
        CrossEncoderJudge(str(tmp_path / "nothing"), 64, "cpu")


@pytest.mark.bad_input("models", "a cross-encoder whose files lack its last layer", "refused")
def test_cross_encoder_without_its_last_layer_is_refused(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if not k.startswith("classifier")}, file)
    with pytest.raises(UserError, match="classifier"):
        CrossEncoderJudge(str(tmp_path / "cut"), 64, "cpu")


@pytest.mark.bad_input("models", "a cross-encoder with code of its own", "refused, never run")
def test_code_of_a_cross_encoder_is_not_run(folder, tmp_path):
    coded = shutil.copytree(folder, tmp_path / "coded")
    add_own_code(coded, module=False)
    with pytest.raises(UserError, match="needs code that came with it") as caught:
        CrossEncoderJudge(str(coded), 64, "cpu")
    assert "trust_remote_code" not in str(caught.value)


@pytest.mark.bad_input("models", "a cross-encoder whose weights are cut short", "refused by name")
def test_cross_encoder_that_is_cut_short_is_refused(folder, tmp_path):
    torn = shutil.copytree(folder, tmp_path / "torn") / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be loaded as a cross-encoder"):
        CrossEncoderJudge(str(torn.parent), 64, "cpu")
