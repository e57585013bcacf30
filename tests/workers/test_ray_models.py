"""The models that a worker of a Ray cluster holds: those of a stage, kept from stage to stage, and
refused as in one process."""

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.ray_models import (
    LoadsLast,
    RefusesToArrive,
    SentEncoder,
    open_llm,
    open_rankers,
    open_sent,
)
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS, make_tiny_cross_encoder
from helpers.written_files import read_files

from distill.embed import open_embedder
from distill.errors import UserError
from distill.llm.lazy import RecipeLLM, choose_needs
from distill.models.reference import identify_revision
from distill.recipe import LanguageModel, Recipe, load_recipe
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.cross_encoder import LazyCrossEncoder
from distill.relabel.rankers.passes import RankerSettings
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import DROPPED, JUDGEMENTS
from distill.teacher.vectors import embed_with_teacher
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
            run.use_workers(cluster.make_workers(run.folder, workers=one))
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


def test_retriever_and_teacher_are_kept_together_and_a_ranker_too(answers, recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    encoders = [
        SentEncoder(open_embedder.open_embedder(settings, str(settings.model)))
        for settings in (recipe.retriever, recipe.teacher)
    ]
    folder = str(make_tiny_cross_encoder(tmp_path / "ranker"))
    ranker = LazyCrossEncoder(folder, identify_revision(folder), 32, "cpu")
    searches = partial(open_rankers, encoders), ENCODER
    embeds = partial(open_rankers, encoders[1:]), ENCODER
    judges = partial(open_rankers, [], [ranker]), ranker.needs
    stages = [searches, searches, embeds, searches, judges, judges, embeds]
    assert answers(*stages) == ["1 1", "2 2", "3", "3 4", "1", "2", "1"]


def test_teacher_of_a_recipe_is_loaded_by_workers_alone(
    cluster, recipe_file, tmp_path, monkeypatch
):
    teacher = load_recipe(recipe_file).teacher
    texts = {"q": "why do bees dance"}, {f"p{number}": text for number, text in enumerate(TEXTS)}
    with Run(tmp_path / "here") as run:
        here = embed_with_teacher(run, teacher, *texts)
    monkeypatch.setattr(open_embedder, "load_encoder", None)
    with Run(tmp_path / "there") as run:
        run.use_workers(cluster.make_workers(run.folder))
        there = embed_with_teacher(run, teacher, *texts)
    rows = torch.arange(len(here))
    assert torch.equal(here.take(rows), there.take(rows))


def test_cross_encoder_of_a_recipe_judges_on_workers_as_in_one_process(cluster, tmp_path):
    model = str(make_tiny_cross_encoder(tmp_path / "ranker"))
    rule = {"rankers": ["cross_encoder"], "cross_encoder": model, "cross_encoder_tokens": 32}
    settings = {"name": "r", "relabel": {**rule, "shard_size": 2}, "retriever": {"device": "cpu"}}
    rankers = RankerSettings.select(Recipe.model_validate(settings))
    passages = {f"p{number}": text for number, text in enumerate(TEXTS)}
    asked = [("why do bees dance", "p3"), ("what moves the sea", "p6"), ("wires of copper", "p1")]
    found = [["p3", "p0"], ["p6", "p2"], ["p1", "p4"]]

    def judge(folder: Path, on_cluster: bool) -> Stage:
        with Run(folder) as run:
            stages = prepare_candidates(run, passages, asked, found)
            if on_cluster:
                run.use_workers(cluster.make_workers(run.folder))
            file = run.folder / "judgements.sqlite"
            return make_judgements(run, rankers, "cross_encoder", *stages, lambda: None, file)

    here, there = judge(tmp_path / "here", False), judge(tmp_path / "there", True)
    assert there.manifest["execution"]["on"] == "ray"
    assert len(here.read_rows(JUDGEMENTS)) == 6
    assert read_files(here.folder) == read_files(there.folder)


@pytest.mark.bad_input("cluster", "a ranker with other files on a worker", "refused at once")
def test_ranker_of_another_revision_is_refused(answers, tmp_path):
    folder = str(make_tiny_cross_encoder(tmp_path / "ranker"))
    ranker = LazyCrossEncoder(folder, "another", 32, "cpu")
    with pytest.raises(UserError, match="has other files on a worker"):
        answers((partial(open_rankers, [], [ranker]), ranker.needs))


@pytest.mark.bad_input("cluster", "a model that a worker may not open", "refused at once")
def test_model_that_a_worker_refuses_ends_the_run_with_its_own_words(answers, tmp_path):
    (tmp_path / "marks").mkdir()
    with pytest.raises(UserError) as refused:
        answers((partial(open_sent, RefusesToArrive(tmp_path / "marks")), ENCODER))
    assert refused.value.where == "model 'm'"
    assert refused.value.what == "would give other vectors on a worker"
    assert refused.value.remedy == "set its dtype"
    assert len(list((tmp_path / "marks").iterdir())) == 1
