"""The judge distilled from rankers: taught by short lists, it ranks the wide ones."""

import json
import math
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.query_side_recipe import load_query_route
from helpers.written_files import read_files
from sentence_transformers import CrossEncoder

import distill
from distill.cli import cli
from distill.errors import UserError
from distill.files.atomic import read_json
from distill.pipeline.job import Job
from distill.pipeline.teach_judge import put_judge
from distill.recipe import Recipe, load_recipe, override
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import LABELS, QUERIES
from distill.train.loop.callbacks import CheckpointCallback

SETTINGS = {
    # Of so few passages the self-test says nothing: a tiny judge of random weights learns little.
    "corpus.limit": 14,
    "generate.free": {"queries": 60, "per_passage": 4},
    "relabel.rankers": ["cross_encoder", "retriever"],
    "relabel.cross_encoder": "judge",
    "relabel.top_k": 6,
    "relabel.negative_count": 1,
    "judge.rankers": ["retriever", "bm25"],
    "judge.top_k": 3,
    "judge.queries": 20,
    "judge.layers": [0],
    "judge.max_tokens": 40,
    "judge.batch_size": 4,
    "judge.checkpoint_steps": 3,
    "judge.depth": 5,
    "judge.device": "cpu",
    "student.route": "both",
    "train.objective": {"infonce": 1.0},
}


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder) -> Recipe:
    plain = load_query_route(recipe_file, encoder_folder)
    values = override(plain, {"generate.methods": ["sentences", "keywords"]})
    return override(values, SETTINGS)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "run"
    distill.run(recipe, folder)
    return folder


def test_judge_learns_from_short_lists_of_some_queries(run_folder, recipe):
    inner = run_folder / "round-judge"
    assert len(open_stage(inner / "queries").read_rows(QUERIES)) == 20
    labels = open_stage(inner / "labels").read_rows(LABELS)
    assert all(row["bm25"] is not None and row["cross_encoder"] is None for row in labels)
    figures = open_stage(run_folder / "judge").manifest["figures"]
    assert figures["lists"] + figures["held_out_lists"] <= 20
    curve = read_json(run_folder / "judge" / "training.json")["curve"]
    assert curve[-1]["step"] == figures["steps"] == math.ceil(figures["lists"] / 4) * 2


def test_judge_ranks_the_wide_lists_of_all_queries(run_folder):
    labels = open_stage(run_folder / "labels").read_rows(LABELS)
    assert len({row["query_id"] for row in labels}) > 20
    judge = CrossEncoder(str(run_folder / "judge"), max_length=40, device="cpu")
    assert judge.num_labels == 1
    assert judge.model.config.num_hidden_layers == 1
    assert all(row["cross_encoder"] is not None and row["bm25"] is None for row in labels)


def test_judge_is_measured_as_a_reranker_beside_the_retriever(run_folder):
    figures = open_stage(run_folder / "judge-evaluation").manifest["figures"]["reranking"]
    (of,) = figures["tasks"].values()
    assert of["difference"] == pytest.approx(of["reranked"] - of["retriever"], abs=1e-5)
    assert of["low"] <= of["difference"] <= of["high"]
    report = (run_folder / "report.md").read_text()
    assert "reordered by the judge" in report
    assert "reordered by the judge" in (run_folder / "report.html").read_text()


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def test_killed_and_resumed_it_ends_with_the_undisturbed_bytes(
    tmp_path, recipe, run_folder, monkeypatch
):
    class Fatal(CheckpointCallback):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == 5:
                raise Killed

    with Run(tmp_path / "run") as run, monkeypatch.context() as patch:
        patch.setattr("distill.train.judge.fit.CheckpointCallback", Fatal)
        with pytest.raises(Killed):
            Job(run, recipe).train_judge()
    assert list((tmp_path / "run/judge/.stage/training").glob("checkpoint-3/complete"))
    with Run(tmp_path / "run") as run:
        Job(run, recipe).train_judge()
    assert read_files(tmp_path / "run" / "judge") == read_files(run_folder / "judge")


def test_judge_of_the_labels_that_a_run_has(run_folder, tmp_path, recipe):
    """Without a round of its own: relabelling's rankers teach it, and nothing is judged again."""
    plain = override(
        recipe,
        {
            "relabel.rankers": ["retriever", "bm25"],
            "relabel.cross_encoder": None,
            "judge.rankers": ["bm25"],
            "evaluate.tasks": [],
        },
    )
    run = distill.train_judge(plain, tmp_path / "run")
    assert [stage.name for stage in run.stages] == ["judge"]
    assert not (tmp_path / "run" / "round-judge").exists()
    assert open_stage(tmp_path / "run" / "judge").manifest["inputs"].keys() == {"labels"}


def test_judge_is_exported_with_a_card(run_folder, tmp_path):
    done = CliRunner().invoke(
        cli, ["export", str(run_folder), "--out", str(tmp_path / "out"), "--judge"]
    )
    assert done.exit_code == 0, done.output
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: text-ranking" in card
    assert "reordered by the judge" in card
    assert str(tmp_path) not in card
    pairs = [("bees", "Bees dance."), ("tides", "The sea rises.")]
    own, exported = (
        CrossEncoder(str(of), device="cpu").predict(pairs)
        for of in (run_folder / "judge", tmp_path / "out")
    )
    assert own.tolist() == exported.tolist()


def test_judge_that_ranks_at_random_stays_where_training_learns_from_it(recipe, tmp_path):
    with Run(tmp_path / "run") as run:
        judge = run.open_stage("judge", {})
        judge.finish(known_pairs=400, known_pairs_won=200)
    auto = override(recipe, {"relabel.weights": "auto"})
    assert put_judge(auto, judge).relabel.rankers == ["retriever"]
    learnt = {
        "student.route": "query",
        "train.objective": {"corpus_softmax": 1.0},
        "train.corpus_softmax": {"scores": "cross_encoder"},
    }
    settled = put_judge(override(auto, learnt), judge)
    assert settled.relabel.rankers == ["cross_encoder", "retriever"]


@pytest.mark.bad_input("judge", "a run without a judge, to be exported", "refused, nothing written")
def test_run_without_a_judge_exports_none(run_folder, tmp_path):
    shutil.copytree(run_folder / "passages", tmp_path / "run" / "passages")
    with pytest.raises(UserError, match="has no judge"):
        distill.export_judge(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.bad_input("judge", "a decoder as its encoder", "refused before anything is judged")
def test_decoder_makes_no_judge(recipe, llm_folder, tmp_path):
    with pytest.raises(UserError, match=r"judge\.encoder .* is a decoder"):
        distill.train_judge(override(recipe, {"judge.encoder": str(llm_folder)}), tmp_path / "run")


@pytest.mark.bad_input("judge", "layers that its encoder has not", "refused, the key is named")
def test_layers_that_are_not_there(recipe, tmp_path):
    with pytest.raises(UserError, match=r"judge\.layers: no layer 7"):
        distill.train_judge(override(recipe, {"judge.layers": [7]}), tmp_path / "run")


@pytest.mark.bad_input("judge", "fewer lists than it takes to learn", "refused, says how many")
def test_judge_with_too_few_lists_is_refused(recipe, tmp_path):
    few = override(recipe, {"generate.methods": ["sentences"], "evaluate.tasks": []})
    with pytest.raises(UserError, match="queries have a list to learn from"):
        distill.train_judge(few, tmp_path / "run")


@pytest.mark.bad_input("judge", "a judge that nobody teaches", "refused, judge.rankers is named")
@pytest.mark.parametrize(
    ("settings", "what"),
    [
        (["judge.rankers=[]"], "name in judge.rankers who teaches it"),
        (["judge.rankers=[cross_encoder]"], "needs no judge"),
        (["judge.rankers=[ql]", "judge.weights={rc: 1}"], "rc is not among judge.rankers"),
    ],
)
def test_judge_without_teachers(settings, what):
    sets = ["name=r", "relabel={rankers: [cross_encoder], cross_encoder: judge}", *settings]
    with pytest.raises(UserError, match=what):
        load_recipe(None, sets)


def test_plan_of_the_run_counts_the_judges_round(run_folder, recipe, tmp_path):
    lines = {line.stage for line in distill.estimate(recipe, tmp_path / "run", sample=0).lines}
    assert {"round-judge/judgements-bm25", "judge", "judgements-cross_encoder"} <= lines
    assert json.loads((run_folder / "summary.json").read_text())["models"]["student"]
