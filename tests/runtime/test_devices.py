"""Devices that a machine has not."""

import pytest
import torch

from distill.api.devices import check_devices
from distill.errors import UserError
from distill.recipe import load_recipe
from distill.runtime.devices import check_device, compute_in_float32


@pytest.mark.parametrize(
    "device",
    [
        pytest.param(name, marks=pytest.mark.bad_input("device", f"`{name}` {where}", "refused"))
        for name, where in [
            ("toaster", ""),
            ("cuda", "without CUDA"),
            ("cuda:7", "where there are fewer"),
            ("mps", "elsewhere than on a Mac"),
            ("cpu:3", ""),
            ("cuda:x", ""),
        ]
    ],
)
def test_device_that_is_not_there_is_refused(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="is not on this machine") as fault:
        check_device(device, "llm.device")
    assert fault.value.where == f"llm.device {device}"
    assert "cpu" in fault.value.remedy


def test_devices_that_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in (None, "cpu", "cuda", "cuda:0", "cuda:1"):
        check_device(device, "llm.device")


@pytest.mark.bad_input("device", "`cuda:1` to train on, where there are two", "refused")
@pytest.mark.parametrize("key", ["train.device", "judge.device"])
def test_training_is_refused_a_gpu_by_number_before_anything_is_made(monkeypatch, key):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    judged = ["relabel={rankers: [cross_encoder], cross_encoder: judge}", "judge.rankers=[ql]"]
    settings = ["name=x", *judged, f"{key}=cuda:1"]
    with pytest.raises(UserError, match=f"{key} cuda:1: training takes the first") as fault:
        check_devices(load_recipe(None, settings))
    assert f"{key}: cuda, and CUDA_VISIBLE_DEVICES=1" in fault.value.remedy


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_workers_of_a_cluster_may_have_gpus_that_this_machine_has_not(no_gpu):
    on_cluster = ["name=x", "execution=ray"]
    of_workers = [f"{key}.device=cuda" for key in ("llm", "retriever", "teacher")]
    recipe = load_recipe(None, [*on_cluster, "teacher.model=m", *of_workers])
    for step in ("relabel", "score_teacher", "train_student"):
        check_devices(recipe, step)
    pool = ["evaluate.tasks=[judged]", "corpus.path=x", "corpus.held_out=0.1"]
    check_devices(load_recipe(None, [*on_cluster, *pool, "llm.device=cuda"]))
    with pytest.raises(UserError, match="mps: is not on this machine"):
        check_devices(load_recipe(None, [*on_cluster, "llm.device=mps"]))


@pytest.mark.parametrize(
    ("key", "settings", "remedy"),
    [
        ("train", [], "set train.launcher: ray"),
        ("teacher", ["teacher.model=m"], "workers then take GPUs"),
        (
            "retriever",
            [
                "relabel={rankers: [cross_encoder], cross_encoder: judge}",
                "judge.rankers=[ql]",
                "evaluate.tasks=[STSBenchmark]",
            ],
            "workers then take GPUs",
        ),
        ("llm", ["generate.best_of=2", "generate.best_by=ql"], "workers then take GPUs"),
    ],
)
@pytest.mark.bad_input(
    "device", "`cuda` for what stays in one process on a cluster, on a head without", "refused"
)
def test_stages_of_this_process_need_its_gpu_on_a_cluster_too(no_gpu, key, settings, remedy):
    recipe = load_recipe(None, ["name=x", "execution=ray", f"{key}.device=cuda", *settings])
    with pytest.raises(UserError, match=f"{key}.device cuda: is not on this machine") as fault:
        check_devices(recipe)
    assert remedy in fault.value.remedy


def test_recipes_devices_are_looked_at_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for key in ("llm", "retriever", "train"):
        with pytest.raises(UserError, match=f"{key}.device cuda: is not on this machine"):
            check_devices(load_recipe(None, ["name=x", f"{key}.device=cuda"]))
    served = ["llm.engine=http", "llm.base_url=http://localhost:1/v1", "llm.device=cuda"]
    check_devices(load_recipe(None, ["name=x", *served]))
    judges = ["generate.methods=[sentences]", "relabel.rankers=[ql, retriever]", "llm.device=cuda"]
    check_devices(load_recipe(None, ["name=x", *judges]), "generate")
    with pytest.raises(UserError, match=r"llm\.device cuda: is not on this machine"):
        check_devices(load_recipe(None, ["name=x", *judges]), "relabel")
    judged = ["corpus.path=x", "corpus.held_out=0.1", "evaluate.judged.llm={device: cuda}"]
    check_devices(load_recipe(None, ["name=x", *judged, "evaluate.tasks=[STSBenchmark]"]))
    asked = load_recipe(None, ["name=x", *judged, "evaluate.tasks=[judged]"])
    with pytest.raises(UserError, match=r"evaluate\.judged\.llm\.device cuda: is not on this"):
        check_devices(asked, "generate")


@pytest.mark.parametrize("switch", ["nothing", "allow_tf32", "fp32_precision"])
def test_products_are_of_float32_for_a_while_whoever_has_switched_tf32_on(switch):
    matmul = torch.backends.cuda.matmul
    if switch != "nothing":
        setattr(matmul, switch, True if switch == "allow_tf32" else "tf32")
    before = matmul.fp32_precision
    try:
        with compute_in_float32():
            assert (matmul.fp32_precision, matmul.allow_tf32) == ("ieee", False)
        assert matmul.fp32_precision == before
    finally:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = "none"
