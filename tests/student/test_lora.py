"""Low-rank adaptation: nothing changes at first, little is trained, and what is saved loads."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.student_bases import load_student, make_base
from helpers.tiny_architectures import make_tiny_decoder
from helpers.tiny_models import TEXTS, make_tiny_encoder
from helpers.training_by_hand import make_recipe, train_in
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from distill.errors import UserError
from distill.evaluate.models.eval_model import load_eval_model
from distill.recipe.sections.student import Lora
from distill.student.lora import add_lora, finish_lora

LORA = Lora(rank=4, alpha=8)


@pytest.fixture
def base(tmp_path):
    make_tiny_decoder(tmp_path / "decoder")
    return make_base(tmp_path / "run", tmp_path / "decoder", dimensions=8)


def train(model: SentenceTransformer, folder, resume: str | None = None, steps: int = 6) -> None:
    pairs = {"query": [text.split(" ")[0] for text in TEXTS], "positive": TEXTS}
    args = SentenceTransformerTrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        save_steps=3,
        report_to="none",
        use_cpu=True,
        seed=5,
    )
    trainer = SentenceTransformerTrainer(
        model, args, Dataset.from_dict(pairs), loss=MultipleNegativesRankingLoss(model)
    )
    trainer.train(resume_from_checkpoint=resume)


def test_lora_changes_nothing_at_first_and_trains_little(base):
    plain, adapted = load_student(base), load_student(base)
    add_lora(adapted, LORA, seed=1)
    assert np.allclose(plain.encode(TEXTS), adapted.encode(TEXTS), atol=1e-6)
    trained = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or name.startswith("2.linear") for name in trained)
    assert "2.linear.weight" in trained
    assert sum("lora_A" in name for name in trained) == 2 * 7  # layers x their linear layers


def test_same_seed_gives_the_same_matrices(base):
    models = [load_student(base) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        add_lora(model, LORA, seed)
    first, same, other = (
        next(w for n, w in model.named_parameters() if "lora_A" in n) for model in models
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_merged_is_an_ordinary_model_with_the_trained_vectors(tmp_path, base):
    model = load_student(base)
    add_lora(model, LORA, seed=1)
    train(model, tmp_path / "train")
    trained = model.encode(TEXTS)
    assert not np.allclose(trained, load_student(base).encode(TEXTS), atol=1e-2)
    finish_lora(model, LORA)
    assert np.allclose(model.encode(TEXTS), trained, atol=1e-5)
    model.save_pretrained(str(tmp_path / "merged"))
    assert not list((tmp_path / "merged").rglob("adapter*"))
    again = SentenceTransformer(str(tmp_path / "merged"), device="cpu")
    assert np.allclose(again.encode(TEXTS), trained, atol=1e-5)
    assert {n for n, _ in again.named_parameters()} == {
        n for n, _ in load_student(base).named_parameters()
    }
    assert again[0].model.config.is_causal is False


def test_adapter_is_small_and_finds_its_base(tmp_path, base, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = SentenceTransformer("run/base", device="cpu")  # as a run's relative path gives it
    add_lora(model, LORA, seed=1)
    train(model, tmp_path / "train")
    finish_lora(model, Lora(rank=4, alpha=8, save="adapter"))
    model.save_pretrained(str(tmp_path / "adapter"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    monkeypatch.chdir("/")
    again = SentenceTransformer(str(tmp_path / "adapter"), device="cpu")
    assert np.allclose(again.encode(TEXTS), model.encode(TEXTS), atol=1e-5)


def test_adapter_finds_its_base_in_a_run_that_was_moved(tmp_path):
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    student = {"lora": {"rank": 4, "save": "adapter"}}
    folder = train_in(tmp_path / "run", make_recipe(tmp_path / "decoder", student=student)).folder
    trained = load_eval_model(folder, device="cpu").encode(TEXTS, "query")
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = load_eval_model(tmp_path / "moved/student", device="cpu").encode(TEXTS, "query")
    assert np.array_equal(moved, trained)


def test_training_goes_on_from_a_checkpoint_to_the_same_weights(tmp_path, base):
    undisturbed, killed, resumed = (load_student(base) for _ in range(3))
    for model in (undisturbed, killed, resumed):
        add_lora(model, LORA, seed=1)
    train(undisturbed, tmp_path / "whole")
    train(killed, tmp_path / "half", steps=3)
    train(resumed, tmp_path / "half", resume=str(tmp_path / "half" / "checkpoint-3"))
    expected = dict(undisturbed.named_parameters())
    for name, weight in resumed.named_parameters():
        assert torch.allclose(weight, expected[name], atol=1e-6), name


def test_gradient_checkpointing_still_trains_the_matrices(base):
    model = load_student(base).train()
    add_lora(model, LORA, seed=1)
    model[0].model.gradient_checkpointing_enable({"use_reentrant": False})
    model(model.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    assert any(w.grad is not None for n, w in model.named_parameters() if "lora_B" in n)


def test_encoders_own_head_is_left_alone(tmp_path):
    make_tiny_encoder(tmp_path / "encoder")
    model = load_student(make_base(tmp_path / "run", tmp_path / "encoder"))
    add_lora(model, LORA, seed=1)
    adapted = [name for name, _ in model.named_parameters() if "lora_A" in name]
    assert adapted
    assert not [name for name in adapted if "pooler" in name]


@pytest.mark.bad_input("student", "a LoRA target that is not there", "refused by name")
def test_layers_by_name_and_one_that_is_not_there(base):
    model = load_student(base)
    add_lora(model, Lora(targets=["q_proj", "v_proj"]), seed=1)
    adapted = {n.split(".")[-4] for n, _ in model.named_parameters() if "lora_A" in n}
    assert adapted == {"q_proj", "v_proj"}
    with pytest.raises(UserError, match=r"student\.lora\.targets \['nothing'\]"):
        add_lora(load_student(base), Lora(targets=["nothing"]), seed=1)


def test_bfloat16_autocast_gives_near_vectors(tmp_path):
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    model = load_student(make_base(tmp_path / "run", tmp_path / "decoder"))
    add_lora(model, LORA, seed=1)
    exact = model.encode(TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.encode(TEXTS, convert_to_tensor=True).float().numpy()
    assert (exact * rough).sum(axis=1).min() > 0.99


def test_frozen_weights_can_be_half_as_large(tmp_path):
    """What is trained stays float32, what comes of it is near, and the saved model is float32."""
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    base = make_base(tmp_path / "run", tmp_path / "decoder", dimensions=8)
    exact, model = load_student(base), load_student(base)
    add_lora(model, LORA, seed=1, base=torch.bfloat16)
    kinds = {weight.requires_grad: weight.dtype for weight in model[0].parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    near = model.encode(TEXTS)
    assert (near * exact.encode(TEXTS)).sum(axis=1).min() > 0.99
    finish_lora(model, LORA)
    model.save(str(tmp_path / "model"))
    saved = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert {weight.dtype for weight in saved.parameters()} == {torch.float32}
    assert (saved.encode(TEXTS) * near).sum(axis=1).min() > 0.999


def test_adapter_over_frozen_bfloat16_is_saved_as_it_loads(tmp_path):
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    student = {"lora": {"rank": 4, "save": "adapter"}}
    train = {"dtype": "bfloat16", "base_dtype": "auto"}
    recipe = make_recipe(tmp_path / "decoder", student=student, train=train)
    stage = train_in(tmp_path / "run", recipe)
    assert (stage.folder / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("pooling", ["mean", "latent"])
def test_student_is_trained_over_frozen_bfloat16(tmp_path, pooling):
    make_tiny_decoder(tmp_path / "decoder", initializer_range=0.05)
    student = {"lora": {"rank": 4}, "pooling": pooling, "latent": {"latents": 4, "heads": 2}}
    train = {"dtype": "bfloat16", "base_dtype": "auto", "epochs": 2, "weight_decay": 0.1}
    recipe = make_recipe(tmp_path / "decoder", student=student, train=train)
    stage = train_in(tmp_path / "trained", recipe)
    assert stage.manifest["figures"]["loss_last"] > 0
