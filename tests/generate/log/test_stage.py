"""Queries of a log on their way through filters and relabelling, without a seed passage."""

import re

import pytest
from helpers.passages import write_shard
from helpers.query_rows import filter_queries, make_passage
from helpers.tiny_models import TEXTS

from distill.generate.log import personal_data
from distill.generate.log.stage import LogSettings, make_held_out_log_queries, make_log_queries
from distill.llm.lazy import LazyLLM
from distill.llm.transformers.engine import TransformersEngine
from distill.pipeline.recipe_copy import save_recipe
from distill.recipe import Evaluate, Recipe, load_recipe
from distill.relabel.rankers.passes import RankerSettings
from distill.relabel.stages import relabel
from distill.report.run_data import read_run_data
from distill.report.sections.data_funnel import make_funnel
from distill.report.sections.relabelling import make_relabelling
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import EXAMPLES, PARSED, PASSAGES, QUERIES, Row

ASKED = ["why do bees dance", "what moves the sea", "Why do bees  dance", "bees", "copper wires"]


@pytest.fixture
def recipe(tmp_path, llm_folder, encoder_folder) -> Recipe:
    (tmp_path / "asked.txt").write_text("\n".join(ASKED))
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    made = Recipe.model_validate(
        {
            "name": "r",
            "llm": {"model": str(llm_folder), "dtype": "float32", "device": "cpu"},
            "generate": {
                "methods": ["log"],
                "log": {"path": "asked.txt"},
                "filters": {"round_trip": 1, "min_similarity": 0.9, "max_copied": 0.5},
            },
            "retriever": retriever,
            "relabel": {"rankers": ["ql", "rc", "retriever"], "top_k": 4},
        }
    )
    made._folder = tmp_path
    return made


def make_passages(run):
    stage = run.open_stage("passages", {})
    if not stage.complete:
        rows = [make_passage(f"p{n}", text) for n, text in enumerate(TEXTS)]
        write_shard(PASSAGES, stage.folder / "part-00000.parquet", rows)
        stage.finish(rows=len(rows))
    return stage


def make_queries_of_log(run, recipe):
    return make_log_queries(run, LogSettings.select(recipe), recipe.relabel.min_relevance)


def relabel_log(run, recipe, positive="first") -> list[Row]:
    rule = recipe.relabel.model_copy(update={"positive": positive})
    recipe = recipe.model_copy(update={"relabel": rule})
    llm = LazyLLM(lambda: TransformersEngine(recipe.llm.model, "float32", "cpu"), served=True)
    passages, log = make_passages(run), make_queries_of_log(run, recipe)
    queries = filter_queries(run, recipe, passages, [log], llm)
    judged = run.folder / "judgements.sqlite"
    rankers = RankerSettings.select(recipe)
    made = relabel(run, rankers, recipe.seed, passages, queries, llm, judged)
    return made.examples.read_rows(EXAMPLES)


def test_log_in_the_home_folder_is_read(tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe.generate.log.path = "~/asked.txt"
    recipe._folder = tmp_path / "elsewhere"
    with Run(tmp_path / "run") as run:
        assert len(list(make_queries_of_log(run, recipe).read_rows(PARSED))) == 4
    save_recipe(tmp_path / "copied", recipe)
    assert load_recipe(tmp_path / "copied" / "recipe.yaml").generate.log.path == str(
        tmp_path / "asked.txt"
    )


def test_log_becomes_queries_without_a_seed_that_no_filter_of_passages_drops(tmp_path, recipe):
    with Run(tmp_path / "run") as run:
        log = make_queries_of_log(run, recipe)
        assert [row["query"] for row in log.read_rows(PARSED)] == [*ASKED[:2], *ASKED[3:]]
        assert log.manifest["counts"]["dropped: asked again"] == 1
        llm = LazyLLM(lambda: pytest.fail("no LLM is needed"), served=True)
        queries = filter_queries(run, recipe, make_passages(run), [log], llm)
        rows = queries.read_rows(QUERIES)
    assert [(row["query_id"], row["seed_id"], row["task_type"]) for row in rows] == [
        ("~log-0", "", "log"),
        ("~log-1", "", "log"),
        ("~log-3", "", "log"),
    ]
    assert queries.manifest["counts"]["dropped: too few words"] == 1


def hold_out(recipe: Recipe, queries: int) -> Recipe:
    evaluate = {"tasks": ["judged"], "judged": {"source": "log", "queries": queries}}
    changed = recipe.model_copy(update={"evaluate": Evaluate.model_validate(evaluate)})
    changed._folder = recipe.folder
    return changed


@pytest.mark.parametrize(("wanted", "held_out"), [(2, 3), (50, 10)])
def test_queries_of_the_log_are_held_out_and_not_trained_on(tmp_path, recipe, wanted, held_out):
    asked = [f"what is the {number}th thing" for number in range(20)]
    (tmp_path / "asked.txt").write_text("\n".join(asked))
    changed = hold_out(recipe, wanted)
    with Run(tmp_path / "run", "stale") as run:
        before = make_queries_of_log(run, recipe).fingerprint
        log, out = (
            make_queries_of_log(run, changed),
            make_held_out_log_queries(run, LogSettings.select(changed)),
        )
        trained, asked_of_models = (
            [row["query"] for row in stage.read_rows(PARSED)] for stage in (log, out)
        )
    assert log.fingerprint != before
    assert len(asked_of_models) == held_out
    assert sorted(trained + asked_of_models) == sorted(asked)


@pytest.mark.parametrize("positive", ["first", "seed", "margin"])
def test_first_by_fusion_is_the_positive_whatever_the_rule_for_seeds(tmp_path, recipe, positive):
    with Run(tmp_path / "run", "stale") as run:
        rows = relabel_log(run, recipe, positive)
    assert [row["query"] for row in rows] == [*ASKED[:2], "copper wires"]
    assert not any(row["relabelled"] or row["seed_id"] for row in rows)
    assert all(row["negatives"] for row in rows)


def test_report_counts_no_seed_of_a_log(tmp_path, recipe):
    with Run(tmp_path / "run") as run:
        relabel_log(run, recipe)
    section = make_relabelling(read_run_data(tmp_path / "run"))
    assert section is not None
    assert (section.queries, section.seed_rank, section.changed_in_all) == ("0", None, 0)
    flow = make_funnel(read_run_data(tmp_path / "run").complete)
    assert flow is not None
    (step,) = [step for step in flow.steps if step.table == "parsed-log"]
    assert (step.rows, step.dropped) == (4, {"asked again": 1})


def test_query_that_no_passage_answers_is_left_out(tmp_path, recipe):
    rule = recipe.relabel.model_copy(update={"min_relevance": 50.0})
    recipe = recipe.model_copy(update={"relabel": rule})
    with Run(tmp_path / "run") as run, pytest.raises(Exception, match="no query is left"):
        relabel_log(run, recipe)


def test_log_queries_are_limited_by_a_seeded_draw(tmp_path, recipe):
    log = recipe.generate.log.model_copy(update={"queries": 2})
    drawn = recipe.model_copy(update={"generate": recipe.generate.model_copy(update={"log": log})})
    drawn._folder = recipe.folder
    with Run(tmp_path / "run") as run:
        stage = make_queries_of_log(run, drawn)
    assert len(stage.read_rows(PARSED)) == 2
    assert stage.manifest["counts"]["dropped: over generate.log.queries"] == 2


@pytest.fixture
def masked(recipe) -> Recipe:
    (recipe.folder / "asked.txt").write_text("where are the flowers\nwhat moves the sea")
    log = recipe.generate.log.model_copy(update={"personal_data": "mask"})
    made = recipe.model_copy(update={"generate": recipe.generate.model_copy(update={"log": log})})
    made._folder = recipe.folder
    return made


def read_first(stage) -> str:
    return next(row["query"] for row in stage.read_rows(PARSED))


def mask_anew(monkeypatch):
    """Let an upgrade mask words of seven letters and more that end in s."""
    monkeypatch.setattr(personal_data, "_DIGITS", re.compile(r"\b\w{6,}s\b"))


def test_log_is_masked_anew_where_what_is_masked_has_changed(tmp_path, masked, monkeypatch):
    with Run(tmp_path / "run", "stale") as run:
        assert read_first(make_queries_of_log(run, masked)) == "where are the flowers"
        mask_anew(monkeypatch)
        assert read_first(make_queries_of_log(run, masked)) == "where are the [number]"


def test_log_of_an_earlier_version_stays_where_it_is_masked_alike(tmp_path, masked, monkeypatch):
    with Run(tmp_path / "run") as run:
        with monkeypatch.context() as patch:
            patch.setattr("distill.generate.log.stage.identify_masking", lambda: 2)
            earlier = make_queries_of_log(run, masked).fingerprint
        assert make_queries_of_log(run, masked).fingerprint == earlier
    mask_anew(monkeypatch)
    with Run(tmp_path / "run", "stale") as run:
        assert make_queries_of_log(run, masked).fingerprint != earlier


def test_query_for_which_nothing_is_retrieved_is_counted(tmp_path, recipe):
    (tmp_path / "asked.txt").write_text("\n".join([*ASKED, "xyzzy plugh"]))
    retriever = recipe.retriever.model_copy(update={"sources": ["bm25"]})
    recipe = recipe.model_copy(update={"retriever": retriever})
    with Run(tmp_path / "run") as run:
        rows = relabel_log(run, recipe)
        counts = open_stage(run.folder / "examples").manifest["counts"]
    assert "xyzzy plugh" not in [row["query"] for row in rows]
    assert counts["dropped: nothing was retrieved for it"] == 1
