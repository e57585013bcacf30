"""A GPU's memory: a whole run frees it stage by stage, and what does not fit is done in halves."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMOLLM2
from helpers.tiny_models import TEXTS, make_tiny_encoder
from sentence_transformers import SentenceTransformer
from transformers import LlamaForCausalLM

from distill.embed.open_embedder import load_encoder
from distill.llm import ScoreRequest
from distill.llm.lazy import LazyLLM
from distill.llm.transformers.engine import TransformersEngine
from distill.pipeline.job import Job
from distill.recipe import EmbedderConfig, load_recipe
from distill.runtime.devices import free_memory
from distill.runtime.out_of_memory import warn_of_halving
from distill.store.run import Run
from distill.train import stage

MIB = 1 << 20


def run_on(device: str, recipe_file: Path, folder: Path, monkeypatch) -> list[int]:
    """A whole run. How many LLMs were in memory when a training began."""
    sections = ("llm", "retriever", "teacher", "train")
    recipe = load_recipe(recipe_file, [f"{section}.device={device}" for section in sections])
    alive = []
    train = stage.train_student

    def watch(*args, **named):
        alive.append(sum(isinstance(o, LlamaForCausalLM) for o in gc.get_objects()))
        return train(*args, **named)

    monkeypatch.setattr(stage, "train_student", watch)
    with Run(folder) as run:
        Job(run, recipe).evaluate()
    return alive


@pytest.mark.gpu
def test_whole_run_trains_without_the_llm_in_memory(cuda, recipe_file, tmp_path, monkeypatch):
    assert run_on(cuda, recipe_file, tmp_path / "run", monkeypatch) == [0]
    student = SentenceTransformer(str(tmp_path / "run" / "student"), device="cpu")
    assert np.isfinite(student.encode(TEXTS)).all()


@pytest.mark.gpu
def test_llm_that_is_closed_leaves_its_memory_to_others(cuda):
    """To another process too, such as vLLM's: nothing stays reserved."""
    free_memory()
    before = torch.cuda.memory_reserved()
    lazy = LazyLLM(lambda: TransformersEngine(SMOLLM2, "bfloat16", cuda))
    lazy().score([ScoreRequest(TEXTS[0], (" yes", " no"))])
    assert torch.cuda.memory_reserved() > before + 200 * MIB
    lazy.close()
    assert torch.cuda.memory_reserved() < before + 40 * MIB


@contextmanager
def memory_left(amount: int) -> Iterator[None]:
    """Let this process take so many more bytes of the GPU, and no more."""
    free_memory()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + amount) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.gpu
def test_texts_that_do_not_fit_together_are_embedded_in_halves(cuda, tmp_path, caplog):
    folder = str(make_tiny_encoder(tmp_path / "wide", width=512))
    texts = [f"{text} {number}" for number in range(300) for text in TEXTS]
    settings = {"device": cuda, "dtype": "float32", "max_tokens": 64}
    small = load_encoder(folder, EmbedderConfig(batch_tokens=4096, **settings))
    expected = small.encode(texts, "document")
    large = load_encoder(folder, EmbedderConfig(batch_tokens=1 << 20, **settings))
    warn_of_halving.cache_clear()
    with caplog.at_level(logging.WARNING), memory_left(256 * MIB):
        vectors = large.encode(texts, "document")
    assert "halved" in caplog.text
    assert float((vectors * expected).sum(axis=1).min()) > 0.9999


@pytest.mark.gpu
def test_pairs_that_do_not_fit_together_are_scored_in_halves(cuda, llm_folder, caplog):
    queries = tuple(f" what about {text.split()[1]}" for text in TEXTS)
    requests = [ScoreRequest(f"{' '.join(TEXTS[:3])} {n}", queries) for n in range(400)]
    small = TransformersEngine(str(llm_folder), "float32", cuda, batch_tokens=2048)
    large = TransformersEngine(str(llm_folder), "float32", cuda, batch_tokens=1 << 20)
    expected = [s.logprob for of in small.score(requests) for s in of]
    warn_of_halving.cache_clear()
    with caplog.at_level(logging.WARNING), memory_left(128 * MIB):
        scores = [s.logprob for of in large.score(requests) for s in of]
    assert "halved" in caplog.text
    assert np.allclose(scores, expected, atol=1e-2)
