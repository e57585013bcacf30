"""Training on a GPU takes the steps that it takes on the CPU."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fresh_process import FreshProcess
from helpers.reference_losses import draw_unit_vectors
from helpers.tiny_models import TEXTS
from helpers.training_by_hand import make_recipe, train_in
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from distill.recipe import CorpusSoftmax
from distill.recipe.sections.objective import KL, MarginMSE
from distill.student.static.gate import GatedStaticEmbedding
from distill.train.loop import shared
from distill.train.objectives import gradcache
from distill.train.objectives.corpus_softmax import BatchPools, CorpusSoftmaxLoss
from distill.train.objectives.cosent import compute_cosent
from distill.train.objectives.kl import compute_kl
from distill.train.objectives.margin_mse import compute_margin_mse
from distill.train.training_stage import TrainingStage

WORDS = " ".join(TEXTS).split()
RAGGED = [" ".join(WORDS[i : i + length]) for i, length in enumerate([3, 30, 1, 12, 7, 20, 2, 9])]
ALL_TERMS = {
    "objective": {
        "infonce": 1.0,
        "align": 1.0,
        "gor": 0.1,
        "similarity_matrix": 0.5,
        "relative_order": 0.5,
    },
    "infonce": {"learn_temperature": True},
    "align": {"passages": 6, "sentences": 6, "batch_size": 4},
    "widths": [32, 8],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "all terms": ALL_TERMS,
    "in mini-batches": ALL_TERMS | {"mini_batch_tokens": 40},
}


class _Trained(Exception):
    """Carries the summary of a training that is not to be written."""


@pytest.fixture
def curve(monkeypatch, encoder_folder, teacher_folder):
    """The loss and its terms, step by step, for 20 steps. What is saved is not compared here."""
    monkeypatch.setattr(shared, "LOGGING_STEPS", 1)

    def stop(self: TrainingStage, model: object, objective: object, summary: dict) -> None:
        raise _Trained(summary)

    monkeypatch.setattr(TrainingStage, "_write", stop)

    def train(
        folder: Path, device: str, what: str, epochs: int, **settings: Any
    ) -> list[dict[str, float]]:
        settings |= {"device": device, "dropout": 0.0, "epochs": epochs, "learning_rate": 1e-3}
        if device.startswith("simulated"):  # the trainer knows GPUs alone by itself
            monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", device)
        recipe = make_recipe(encoder_folder, teacher_folder, train=SETTINGS[what] | settings)
        with pytest.raises(_Trained) as trained:
            train_in(folder / device.partition(":")[0], recipe)
        return trained.value.args[0]["curve"][:20]

    return train


def terms(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {k: v for k, v in line.items() if "loss" in k or k in ALL_TERMS["objective"]}
        for line in curve
    ]


@pytest.mark.slow
@pytest.mark.parametrize("what", SETTINGS)
def test_first_steps_are_those_of_the_cpu(device, curve, tmp_path, what):
    """Twenty on a GPU; the simulation is slow, and takes six."""
    epochs = 4 if device == "cuda" else 1
    cpu = terms(curve(tmp_path, "cpu", what, epochs))
    there = terms(curve(tmp_path, device, what, epochs))
    assert len(cpu) == len(there) == (20 if device == "cuda" else 6)
    for step, (ours, theirs) in enumerate(zip(there, cpu, strict=True)):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-3), step


@pytest.mark.gpu
def test_first_steps_in_bfloat16_are_near_those_of_the_cpu(cuda, curve, tmp_path):
    cpu = curve(tmp_path, "cpu", "all terms", 4, dtype="float32")
    there = curve(tmp_path, cuda, "all terms", 4, dtype="bfloat16")
    for ours, theirs in zip(there, cpu, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.1)


def gradients(model: torch.nn.Module, vectors: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss in which every text matters to every other, on the CPU."""
    model.zero_grad()
    first, second = (
        draw_unit_vectors(*s).to(vectors.device) for s in ((vectors.shape[1], 5), (5, 8))
    )
    (vectors.float() @ first @ second).softmax(0).square().sum().backward()
    named = model.named_parameters()
    return {n: p.grad.detach().cpu().clone() for n, p in named if p.grad is not None}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_gradcache_replays_the_dropout_of_its_device(device, bfloat16, encoder_folder, monkeypatch):
    """Both passes draw the same, and the gradients are those of keeping everything."""
    model = SentenceTransformer(str(encoder_folder), device="cpu").to(device).train()
    features = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in model.preprocess(RAGGED).items()
    }

    def cached() -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
            (vectors,) = gradcache.embed_cached(model, [features], 40)
        return gradients(model, vectors)

    ours = cached()
    keep = lambda embed, *args, use_reentrant: embed(*args)  # noqa: E731
    monkeypatch.setattr(gradcache, "checkpoint", keep)
    theirs = cached()
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0.02, atol=1e-4)


def test_losses_of_soft_labels_are_those_of_the_cpu(device):
    columns = [
        normalize(draw_unit_vectors(6, 8) + 0.1 * number * draw_unit_vectors(6, 8).flip(0))
        for number in range(3)
    ]
    scores = torch.tensor([[1.0, 0.2], [0.5, float("nan")], [0.1, 0.3]] * 2)

    def losses(where: str) -> list[float]:
        vectors, known = [column.to(where) for column in columns], scores.to(where)
        return [
            float(compute_kl(vectors, known, KL())),
            float(compute_margin_mse(vectors, known, MarginMSE())),
            float(compute_cosent(vectors, known[:, 0])),
        ]

    assert losses(device) == pytest.approx(losses("cpu"), rel=1e-4)


@pytest.mark.parametrize("documents", [1000, 10])
def test_softmax_over_the_corpus_is_that_of_the_cpu(device, documents):
    """Over all documents, and over a sample; the vectors stay on the CPU, as they do on disk."""
    vectors = normalize(draw_unit_vectors(40, 8)).numpy()
    pools = BatchPools(torch.arange(18).view(3, 6), torch.full((3, 6), 1 / 6))
    settings = CorpusSoftmax(documents=documents, sample=12)
    loss = CorpusSoftmaxLoss(vectors, lambda numbers: pools, settings)

    def compute(where: str) -> tuple[torch.Tensor, torch.Tensor]:
        queries = normalize(draw_unit_vectors(3, 8)).to(where).requires_grad_()
        value = loss(queries, torch.arange(3).to(where))
        value.backward()
        return value.detach().cpu(), queries.grad.cpu()

    for ours, theirs in zip(compute(device), compute("cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_static_encoder_is_that_of_the_cpu(device, encoder_folder):
    tokenizer = SentenceTransformer(str(encoder_folder), device="cpu").tokenizer.backend_tokenizer
    vectors = torch.nn.functional.normalize(draw_unit_vectors(tokenizer.get_vocab_size(), 8))

    def embed(where: str) -> tuple[torch.Tensor, torch.Tensor]:
        gated = GatedStaticEmbedding(tokenizer, vectors, 5.0).to(where)
        features = {k: v.to(where) for k, v in gated.preprocess(TEXTS).items()}
        found = gated(features)["sentence_embedding"]
        found.square().sum().backward()
        return found.detach().cpu(), gated.log_gate.grad.cpu()

    for ours, theirs in zip(embed(device), embed("cpu"), strict=True):
        torch.testing.assert_close(ours, theirs)


def _train_and_die(folder: Path, encoder: Path, teacher: Path, step: int | None) -> None:
    """Train on the GPU with kernels that add up in one order, and die behind a step."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    if step is not None:
        from distill.train.loop.callbacks import ProgressCallback

        def die(self: object, args: object, state: Any, *_: object, **__: object) -> None:
            if state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)

        ProgressCallback.on_step_end = die  # type: ignore[method-assign, assignment]
    settings = ALL_TERMS | {"device": "cuda", "checkpoint_steps": 3, "mini_batch_tokens": 40}
    train_in(folder, make_recipe(encoder, teacher, train=settings))


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_training_that_was_killed_ends_with_the_same_weights(
    tmp_path, encoder_folder, teacher_folder
):
    """With dropout: the state of chance of the GPU is resumed too."""
    exact = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    for name, steps in (("whole", [None]), ("killed", [5, 8, None])):
        for life, step in enumerate(steps):
            arguments = (tmp_path / name, encoder_folder, teacher_folder, step)
            place = tmp_path / f"{name}-{life}"
            ended = FreshProcess(place, _train_and_die, *arguments, environment=exact).wait()
            assert ended.returncode == (0 if step is None else -signal.SIGKILL), ended.stderr
    whole, killed = (
        SentenceTransformer(str(tmp_path / name / "student"), device="cpu").encode(TEXTS)
        for name in ("whole", "killed")
    )
    assert np.array_equal(whole, killed)
