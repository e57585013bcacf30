"""The section `execution`."""

import pytest

from distill.errors import UserError
from distill.recipe import load_recipe


def load(*sets: str):
    return load_recipe(None, ["name=mine", *sets])


JUDGED = ["corpus.path=x", "corpus.held_out=0.1", "evaluate.tasks=[judged]"]


def test_execution_in_short_names_who_does_the_work():
    assert load("execution=ray").execution.mode == "ray"
    assert load().execution.mode == "local"


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (["execution={mode: ray}", "llm.data_parallel=2"], "llm.data_parallel"),
        (["execution=ray", "retriever.device=cuda:1"], "retriever.device cuda:1"),
        (["execution=ray", *JUDGED, "evaluate.judged.llm={device: cuda:1}"], "judged.llm.device"),
        (["execution={mode: ray, address: ray://head:10001}"], "execution.address"),
        (["execution={mode: ray, workers: {gpu: 2}}"], "execution.workers"),
        (["execution=slurm"], "execution.mode"),
    ],
)
@pytest.mark.bad_input("cluster", "settings that do not go with one", "refused before anything")
def test_settings_that_do_not_go_with_a_cluster_are_refused(sets, named):
    with pytest.raises(UserError) as refused:
        load(*sets)
    assert named in str(refused.value)
