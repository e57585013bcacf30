"""The models that a worker of a Ray cluster holds: one at a time, kept from stage to stage, and
refused as in one process."""

from functools import partial

import pytest
from helpers.ray_models import LoadsLast, RefusesToArrive, open_llm, open_sent

from distill.errors import UserError
from distill.llm.lazy import RecipeLLM, choose_needs
from distill.recipe import LanguageModel
from distill.store.run import Run
from distill.store.tables import DROPPED
from distill.workers.protocol import WorkerNeeds

pytestmark = pytest.mark.slow
ENCODER = WorkerNeeds("encoder", device="cpu")


@pytest.fixture
def answers(cluster, tmp_path):
    """Does one item in each of several stages, on one worker. Gives what each of them answered."""

    def do_stages(*stages) -> list[str]:
        found = []
        one = dict.fromkeys(("llm", "encoder", "cpu"), 1)
        with Run(tmp_path / "run") as run:
            run.use_workers(cluster.workers(run.folder, workers=one))
            for number, (opens, needs) in enumerate(stages):
                stage = run.open_stage(f"stage-{number}", {})
                stage.map_on_workers(DROPPED, ["item"], opens, needs)
                stage.finish()
                found += [row["text"] for row in stage.read_rows(DROPPED)]
        return found

    return do_stages


def make_llm(folder, requests) -> RecipeLLM:
    return RecipeLLM(LanguageModel(model=str(folder), dtype="float32", device="cpu"), requests)


def test_engine_is_kept_from_stage_to_stage_and_goes_before_another_model_comes(
    answers, llm_folder, tmp_path
):
    llm = make_llm(llm_folder, tmp_path / "requests.sqlite")
    asks = partial(open_llm, llm), choose_needs(llm)
    loads = partial(open_sent, LoadsLast()), ENCODER
    assert answers(asks, asks, loads, asks) == [
        "asked 1 times",
        "asked 2 times",
        "0 models in memory",
        "asked 1 times",
    ]


@pytest.mark.bad_input("cluster", "a model that a worker may not open", "refused at once")
def test_model_that_a_worker_refuses_ends_the_run_with_its_own_words(answers, tmp_path):
    (tmp_path / "marks").mkdir()
    with pytest.raises(UserError) as refused:
        answers((partial(open_sent, RefusesToArrive(tmp_path / "marks")), ENCODER))
    assert refused.value.where == "model 'm'"
    assert refused.value.what == "would give other vectors on a worker"
    assert refused.value.remedy == "set its dtype"
    assert len(list((tmp_path / "marks").iterdir())) == 1
