"""A batch that does not fit into memory is computed in halves, with the same results."""

import logging

import numpy as np
import pytest
import torch
from helpers.tiny_models import TEXTS, make_tiny_cross_encoder

from distill.embed.local import LocalEmbedder
from distill.embed.open_model import open_model
from distill.errors import UserError
from distill.llm import Sampling, ScoreRequest
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import EmbedderConfig
from distill.retrieve.cross_encoder import CrossEncoderJudge
from distill.runtime.out_of_memory import halve_on_out_of_memory, warn_of_halving

FAULTS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


def limit_rows(model, most, fault=FAULTS[0]):
    """From now on the model's memory does not suffice for more rows."""

    def refuse(_, ids):
        if len(ids[0]) > most:
            raise fault

    return model.get_input_embeddings().register_forward_pre_hook(refuse)


@pytest.fixture(autouse=True)
def forget_what_was_said():
    warn_of_halving.cache_clear()


@pytest.mark.bad_input("device", "a batch that does not fit into memory", "halved, told once")
@pytest.mark.parametrize("fault", FAULTS)
def test_halves_are_done_once_and_in_order(fault, caplog):
    done = []

    def work(items):
        if len(items) > 3:
            raise fault
        done.extend(items)

    halve_on_out_of_memory(work, range(20), "model 'm'", "llm.batch_tokens")
    assert done == list(range(20))
    assert [r.getMessage().count("llm.batch_tokens") for r in caplog.records] == [1]


def test_fault_other_than_memory_is_raised_as_it_is():
    def work(items):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        halve_on_out_of_memory(work, [1, 2], "model 'm'", "llm.batch_tokens")


@pytest.mark.parametrize("constrained", [False, True])
def test_engine_writes_the_same(llm_folder, constrained, caplog):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    sampling = Sampling(12, 0.9, regex="[a-z ]{3,9}" if constrained else None)
    seeds = list(range(len(TEXTS)))
    expected = engine.generate(TEXTS, seeds, sampling)
    with limit_rows(engine.model.base_model, 3):
        assert engine.generate(TEXTS, seeds, sampling) == expected
        assert engine.generate(TEXTS, seeds, sampling) == expected
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_engine_scores_the_same(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    requests = [ScoreRequest(text, (" why", " how so"), (" yes", " no")) for text in TEXTS]
    expected = engine.score(requests)
    with limit_rows(engine.model.base_model, 3):
        for several, alike in zip(engine.score(requests), expected, strict=True):
            for a, b in zip(several, alike, strict=True):
                assert a.logprob == pytest.approx(b.logprob, abs=1e-3)
                assert a.endings == pytest.approx(b.endings, abs=1e-3)


def limit_header(engine, most):
    """From now on memory suffices for no single row of more tokens, but for one of the batch."""

    def refuse(_, ids):
        if len(ids[0]) == 1 and ids[0].shape[1] > most:
            raise FAULTS[0]

    return engine.model.get_input_embeddings().register_forward_pre_hook(refuse)


@pytest.mark.bad_input("device", "a shared beginning that does not fit", "scored without sharing")
def test_prompts_are_scored_without_sharing_where_that_does_not_fit(llm_folder, caplog):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    header = " ".join(TEXTS)[:200]
    requests = [ScoreRequest(f"{header} {text}", (" why", " how")) for text in TEXTS]
    expected = engine.score(requests)
    engine.clear_prefix_caches()
    with limit_header(engine, 20):
        for several, alike in zip(engine.score(requests), expected, strict=True):
            assert [a.logprob for a in several] == pytest.approx(
                [b.logprob for b in alike], abs=1e-3
            )
    assert "they are computed for each" in caplog.text


def test_headers_that_are_kept_make_room(llm_folder, caplog):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    shared = [f"{' '.join(TEXTS)[:200]} {text}" for text in TEXTS]
    engine.generate(shared, [1] * len(shared), Sampling(2))
    assert len(engine.prefix_cache)

    def refuse(_, ids):
        if len(engine.prefix_cache):
            raise FAULTS[0]

    with engine.model.get_input_embeddings().register_forward_pre_hook(refuse):
        engine.score([ScoreRequest(text, (" why",)) for text in shared])
    assert engine.tokens["shared"] > 0
    assert "computed for each" not in caplog.text


@pytest.mark.bad_input("device", "a single text that does not fit into memory", "refused")
def test_single_text_that_does_not_fit_is_refused(llm_folder):
    engine = TransformersEngine(str(llm_folder), "float32", "cpu")
    with limit_rows(engine.model.base_model, 0):
        with pytest.raises(UserError, match=r"lower llm\.batch_tokens"):
            engine.generate(TEXTS, [1] * len(TEXTS), Sampling(4))
        with pytest.raises(UserError, match=r"lower llm\.batch_tokens"):
            engine.score([ScoreRequest(text, (" why",)) for text in TEXTS])


def test_cross_encoder_scores_the_same(tmp_path):
    judge = CrossEncoderJudge(str(make_tiny_cross_encoder(tmp_path / "m")), 64, "cpu")
    requests = [(text, TEXTS[:3]) for text in TEXTS]
    expected = np.array(judge.judge(requests))
    with limit_rows(judge.model[0].auto_model, 2):
        np.testing.assert_allclose(np.array(judge.judge(requests)), expected, atol=1e-5)


def test_embedder_gives_the_same_vectors(encoder_folder):
    embedder = LocalEmbedder(open_model(str(encoder_folder), EmbedderConfig(device="cpu")))
    model = embedder.model
    expected = embedder.embed(TEXTS, "", None)
    with limit_rows(model[0].auto_model, 2):
        np.testing.assert_allclose(embedder.embed(TEXTS, "", None), expected, atol=1e-6)
    with limit_rows(model[0].auto_model, 0), pytest.raises(UserError, match="lower batch_tokens"):
        embedder.embed(TEXTS, "", None)
