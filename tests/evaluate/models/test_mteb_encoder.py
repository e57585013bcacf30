"""What mteb is given: the vectors of its own wrapper, each text encoded once."""

import warnings

import numpy as np
import pytest
from helpers.fake_server import MODEL, serve
from helpers.mteb_calls import encode_as_mteb, score_as_mteb
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer

from distill.embed.local import LocalEmbedder
from distill.evaluate.models import mteb_encoder
from distill.evaluate.models.eval_model import load_eval_model, load_served_model
from distill.evaluate.models.mteb_encoder import wrap_for_mteb
from distill.recipe import Retriever
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")


@pytest.fixture
def eval_model(prompted_folder):
    return load_eval_model(prompted_folder, device="cpu")


def mtebs_own(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = SentenceTransformer(str(folder), device="cpu")
        return mteb.models.SentenceTransformerEncoderWrapper(model)


@pytest.mark.parametrize(
    ("task", "side"),
    [
        ("SciFact", "query"),
        ("SciFact", "document"),
        ("AskUbuntuDupQuestions", "query"),
        ("STSBenchmark", None),
        ("Banking77Classification", None),
        ("TwentyNewsgroupsClustering.v2", None),
        ("SprintDuplicateQuestions", None),
        ("SummEvalSummarization.v2", None),
    ],
)
def test_vectors_are_those_of_mtebs_own_wrapper(tmp_path, task, side):
    prompts = {"query": "q ", "document": "d ", "STS": "tides ", "Clustering": "bees "}
    folder = make_tiny_encoder(tmp_path / "model", prompts=prompts)
    ours = encode_as_mteb(
        wrap_for_mteb(load_eval_model(folder, device="cpu"), tmp_path), TEXTS, task, side
    )
    np.testing.assert_allclose(
        ours, encode_as_mteb(mtebs_own(folder), TEXTS, task, side), atol=1e-6
    )


def test_vectors_keep_the_length_that_the_model_gives_them(tmp_path):
    folder = make_tiny_encoder(tmp_path / "model")
    model = SentenceTransformer(str(folder), device="cpu")
    SentenceTransformer(modules=list(model)[:2]).save_pretrained(str(tmp_path / "bare"))
    ours = encode_as_mteb(wrap_for_mteb(load_eval_model(tmp_path / "bare", device="cpu")), TEXTS)
    assert not np.allclose(np.linalg.norm(ours, axis=1), 1, atol=0.1)
    np.testing.assert_allclose(ours, encode_as_mteb(mtebs_own(tmp_path / "bare"), TEXTS), atol=1e-5)


def test_scores_are_those_of_mteb_alone_cached_or_not(
    eval_model, prompted_folder, task_data, tmp_path, encoded
):
    task = load_task("SciFact", task_data)
    alone = score_as_mteb(mtebs_own(prompted_folder), task)
    uncached = score_as_mteb(wrap_for_mteb(eval_model), task)
    assert uncached == alone
    assert score_as_mteb(wrap_for_mteb(eval_model, tmp_path), task) == uncached
    encoded.clear()
    assert score_as_mteb(wrap_for_mteb(eval_model, tmp_path), task) == uncached
    assert encoded == []


def test_text_is_encoded_once_in_a_task_and_over_tasks(tmp_path, encoded):
    eval_model = load_eval_model(make_tiny_encoder(tmp_path / "model"), device="cpu")
    model = wrap_for_mteb(eval_model, tmp_path)
    twice = encode_as_mteb(model, [*TEXTS[:3], *TEXTS[:2]], side="query")
    assert encoded == TEXTS[:3]
    assert np.array_equal(twice[3:], twice[:2])
    encode_as_mteb(model, TEXTS[:5], side="document")  # the same vectors: the model has no prompts
    encode_as_mteb(model, TEXTS[:6], task="STSBenchmark")
    assert encoded == TEXTS[:6]


def test_vectors_differ_by_prompt_and_length(prompted_folder, tmp_path, encoded):
    whole = load_eval_model(prompted_folder, device="cpu")
    short = load_eval_model(prompted_folder, 12, "cpu")
    for eval_model in (whole, short):
        for side in ("query", "document", None):
            found = encode_as_mteb(wrap_for_mteb(eval_model, tmp_path), TEXTS, side=side)
            assert np.array_equal(
                found, encode_as_mteb(wrap_for_mteb(eval_model), TEXTS, side=side)
            )
    assert len(encoded) == 12 * len(TEXTS)


def test_killed_in_a_corpus_it_goes_on_at_its_block(eval_model, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(mteb_encoder, "CHUNK", 4)
    undisturbed = encode_as_mteb(
        wrap_for_mteb(eval_model, tmp_path / "whole"), TEXTS, side="document"
    )
    encoded.clear()
    embed = LocalEmbedder.embed

    def killed(self, texts, prompt, side):
        if TEXTS[8] in texts:
            raise KeyboardInterrupt
        return embed(self, texts, prompt, side)

    with monkeypatch.context() as patched:
        patched.setattr(LocalEmbedder, "embed", killed)
        with pytest.raises(KeyboardInterrupt):
            encode_as_mteb(wrap_for_mteb(eval_model, tmp_path / "cut"), TEXTS, side="document")
    assert encoded == TEXTS[:8]
    resumed = encode_as_mteb(wrap_for_mteb(eval_model, tmp_path / "cut"), TEXTS, side="document")
    assert encoded == TEXTS
    assert np.array_equal(resumed, undisturbed)


def test_batches_keep_to_their_tokens_longest_first(eval_model, monkeypatch):
    embedder = eval_model.embedder
    embedder._batch_tokens = 40
    sizes = []
    encode = SentenceTransformer.encode

    def watched(self, inputs, **kwargs):
        counts = [len(ids) for ids in self.tokenizer(inputs)["input_ids"]]
        sizes.append((len(inputs), max(counts)))
        return encode(self, inputs, **kwargs)

    monkeypatch.setattr(SentenceTransformer, "encode", watched)
    found = embedder.embed(TEXTS, "", None)
    assert all(count == 1 or count * longest <= 40 for count, longest in sizes)
    assert [longest for _, longest in sizes] == sorted((s[1] for s in sizes), reverse=True)
    monkeypatch.undo()
    np.testing.assert_allclose(found, eval_model.model.encode(TEXTS), atol=1e-6)


def test_corpus_of_many_texts_tells_its_progress(eval_model, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(mteb_encoder, "CHUNK", 4)
    encode_as_mteb(wrap_for_mteb(eval_model, tmp_path), TEXTS, side="document")
    (line,) = [x for x in capfd.readouterr().err.splitlines() if "SciFact: 12 of 12 texts" in x]
    assert line.startswith("distill/")


def test_served_model_is_asked_under_its_prompts(tmp_path):
    def embeds(path, body):
        rows = [[len(text), text.count("e"), 1.0] for text in body["input"]]
        return {"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]}

    with serve(embeds) as server:
        settings = {"model": MODEL, "base_url": server.url, "query_prompt": "ask: "}
        served = load_served_model(Retriever(**settings), MODEL)
        model = wrap_for_mteb(served, tmp_path)
        found = encode_as_mteb(model, TEXTS, side="query")
        asked = len(server.seen)
        assert np.array_equal(encode_as_mteb(model, TEXTS, side="query"), found)
        assert len(server.seen) == asked
        texts = [text for seen in server.seen for text in seen.body["input"]]
    assert all(text.startswith("ask: ") for text in texts[1:])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert (served.model, served.folder, served.parameters, served.bytes_on_disk) == (None,) * 4
    assert (served.dimensions, served.bytes_per_vector, served.revision) == (3, 12, "served")
    assert model.mteb_model_meta.name == f"served/{MODEL}"
