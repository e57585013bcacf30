"""An engine is there when it is needed, and its memory when that is."""

import gc
import weakref

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

from distill.errors import EngineFailure
from distill.llm import Sampling
from distill.llm.lazy import LazyLLM
from distill.llm.load import load_llm
from distill.llm.vllm.process import ModelProcess
from distill.pipeline.job import Job
from distill.recipe import Retriever, load_recipe
from distill.store.run import Run


@pytest.fixture
def lazy(llm_folder, tmp_path) -> LazyLLM:
    return LazyLLM(lambda: load_llm(_settings(llm_folder), tmp_path / "requests.sqlite"))


def _settings(folder):
    from distill.recipe import LanguageModel

    return LanguageModel(model=str(folder), dtype="float32", device="cpu")


def alive() -> set[int]:
    gc.collect()
    kinds = (PreTrainedModel, SentenceTransformer)
    return {id(thing) for thing in gc.get_objects() if isinstance(thing, kinds)}


def test_closed_engine_leaves_no_weights_behind_and_opens_anew(lazy):
    engine = lazy()
    assert lazy() is engine
    weights = [weakref.ref(weight) for weight in engine.model.parameters()]
    first = engine.generate(["Bees"], [1], Sampling(4))
    engine.generate(
        ["Bees dance to tell other bees where the flowers are"] * 2, [1, 2], Sampling(4)
    )
    lazy.close()  # although somebody still holds the engine itself
    assert [weight() for weight in weights] == [None] * len(weights)
    assert lazy().generate(["Bees"], [1], Sampling(4)) == first


def test_room_is_made_by_what_computes_here_alone(llm_folder, tmp_path):
    def load():
        return load_llm(_settings(llm_folder), tmp_path / "requests.sqlite")

    here, served = LazyLLM(load), LazyLLM(load, served=True)
    before = here(), served()
    here.make_room_for(Retriever(base_url="http://localhost:1/v1"))
    assert here() is before[0]
    here.make_room_for(Retriever())
    served.make_room_for(Retriever())
    assert here() is not before[0]
    assert served() is before[1]


@pytest.mark.slow
def test_lazy_llms_are_in_memory_one_at_a_time(recipe_file, tmp_path, monkeypatch):
    """When an encoder is opened the LLM is gone, and before training everything is."""
    from distill.retrieve import corpus_index
    from distill.train import stage

    at_opening, at_training = [], []
    other = alive()
    open_encoder, train_student = corpus_index.open_embedder, stage.train_student

    def opening(*arguments):
        at_opening.append(alive() - other)
        return open_encoder(*arguments)

    def training(*arguments):
        at_training.append(alive() - other)
        return train_student(*arguments)

    monkeypatch.setattr(corpus_index, "open_embedder", opening)
    monkeypatch.setattr(stage, "train_student", training)
    changes = ["relabel.rounds=2", "generate.filters.round_trip=30"]
    recipe = load_recipe(recipe_file, changes)
    with Run(tmp_path / "run") as run:
        Job(run, recipe).train_student()
    assert at_opening == [set()] * 3  # for the filter, and for each round's candidates
    assert at_training == [set()] * 2


def test_process_that_ended_is_no_fault_of_the_input(tmp_path, capfd):
    """vLLM is not installed here, so its process ends at once."""
    copy = ModelProcess("some/model", {}, None)
    with pytest.raises(EngineFailure, match="process ended") as fault:
        copy.receive()
    copy.process.wait()
    with pytest.raises(EngineFailure, match="some/model"):
        copy.send("generate", [])
    copy.stop()
    assert "llm.gpu_memory" in fault.value.remedy
    assert "vllm" in capfd.readouterr().err


def test_fault_of_cuda_is_no_fault_of_the_input(lazy):
    def broken(module, arguments, values):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")

    engine = lazy()
    engine.model.base_model.register_forward_pre_hook(broken, with_kwargs=True)
    with pytest.raises(EngineFailure, match="its GPU failed: CUDA error: an illegal memory access"):
        engine.generate(["Bees"], [1], Sampling(4))
