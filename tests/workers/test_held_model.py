"""The models that a worker keeps: which go before another one is loaded."""

from collections.abc import Iterator

import pytest
import torch

from distill.workers.held_model import begin_stage, keep_alone, keep_beside, release


class Model:
    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    release()
    yield
    release()


@pytest.fixture
def gpu(monkeypatch):
    """A GPU with so much of its memory free."""

    def make_gpu(free: int, total: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, total))

    return make_gpu


def test_models_of_one_stage_are_kept_together_and_go_when_another_stage_needs_another():
    begin_stage()
    retriever, teacher = keep_beside("retriever", Model), keep_beside("teacher", Model)
    begin_stage()
    assert keep_beside("retriever", Model) is retriever
    assert keep_beside("teacher", Model) is teacher
    begin_stage()
    assert keep_beside("teacher", Model) is teacher
    ranker = keep_beside("ranker", Model)
    assert not retriever.is_open
    assert teacher.is_open
    begin_stage()
    assert keep_beside("ranker", Model) is ranker


@pytest.mark.parametrize(("free", "stays"), [(50, True), (49, False)])
def test_model_of_an_earlier_stage_stays_while_half_of_the_gpu_is_free(gpu, free, stays):
    gpu(free, 100)
    begin_stage()
    retriever = keep_beside("retriever", Model)
    begin_stage()
    keep_beside("ranker", Model)
    assert retriever.is_open == stays


def test_llm_is_alone_in_memory(gpu):
    gpu(100, 100)
    begin_stage()
    retriever = keep_beside("retriever", Model)
    begin_stage()
    llm = keep_alone("llm", Model)
    assert not retriever.is_open
    begin_stage()
    assert keep_alone("llm", Model) is llm
    keep_alone("other", Model)
    assert not llm.is_open


def test_model_that_does_not_fit_beside_an_unused_one_is_opened_after_that_is_closed(gpu):
    begin_stage()
    earlier = keep_beside("earlier", Model)
    gpu(60, 100)  # seemingly enough
    begin_stage()
    tries = []

    def open_large() -> Model:
        tries.append(earlier.is_open)
        if earlier.is_open:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Model()

    assert keep_beside("large", open_large).is_open
    assert tries == [True, False]


def test_model_that_does_not_fit_alone_fails(gpu):
    gpu(60, 100)
    begin_stage()

    def open_too_large() -> Model:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        keep_beside("too large", open_too_large)
