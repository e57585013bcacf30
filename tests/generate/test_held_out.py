"""Queries for held-out passages."""

import pytest
from helpers.fake_llm import passages_of
from helpers.overlap_llm import OverlapLLM

from distill.api.objects import Models, put_models
from distill.errors import UserError
from distill.generate.held_out import make_held_out_queries
from distill.llm import Completion
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import QUERIES


def make_recipe(llm: OverlapLLM, **judged: object) -> Recipe:
    settings = {"name": "x", "evaluate": {"judged": {"queries": 8} | judged}}
    return put_models(Recipe.model_validate(settings), Models(llm=llm))


def write_training_queries(run: Run, queries: list[str]):
    stage = run.stage("queries", {})
    rows = [dict.fromkeys(QUERIES.columns, "") | {"query": query} for query in queries]
    stage.map_shards(QUERIES, [rows], ShardResult)
    stage.finish()
    return stage


def ask(folder, llm, training=(), **judged):
    with Run(folder) as run:
        return make_held_out_queries(
            run,
            make_recipe(llm, **judged),
            passages_of(run),
            write_training_queries(run, list(training)),
            lambda: llm,
        )


def test_at_most_so_many_queries_are_kept_as_are_wanted(tmp_path):
    llm = OverlapLLM()
    made = ask(tmp_path / "run", llm)
    assert len(llm.asked) == 12
    assert 0 < len(made.rows(QUERIES)) <= 8
    dropped = sum(n for key, n in made.manifest["counts"].items() if key.startswith("dropped"))
    assert len(made.rows(QUERIES)) + dropped == 12


def test_queries_that_training_has_too_are_dropped(tmp_path):
    before = ask(tmp_path / "before", OverlapLLM()).rows(QUERIES)
    known = [before[0]["query"], before[1]["query"].upper() + "!"]
    after = ask(tmp_path / "after", OverlapLLM(), known)
    assert {row["query"] for row in before[:2]}.isdisjoint(
        row["query"] for row in after.rows(QUERIES)
    )
    assert sum(after.manifest["counts"].values()) >= 2


def test_a_finished_stage_asks_nothing_again(tmp_path):
    first = ask(tmp_path / "run", OverlapLLM())
    llm = OverlapLLM()
    assert ask(tmp_path / "run", llm) == first
    assert llm.asked == []


@pytest.mark.bad_input("held-out queries", "an LLM that writes one query only", "the rest dropped")
def test_an_llm_that_writes_one_query_only(tmp_path):
    class Same(OverlapLLM):
        def generate(self, prompts, seeds, sampling):
            return [Completion(" where do the bees dance", True) for _ in prompts]

    made = ask(tmp_path / "run", Same())
    assert [row["query"] for row in made.rows(QUERIES)] == ["where do the bees dance"]


@pytest.mark.bad_input("held-out queries", "an LLM that writes refusals only", "refused")
def test_an_llm_that_writes_refusals_only(tmp_path):
    class Refuses(OverlapLLM):
        def generate(self, prompts, seeds, sampling):
            return [Completion(" I'm sorry, I cannot help with that.", True) for _ in prompts]

    with pytest.raises(UserError, match="no held-out query is left"):
        ask(tmp_path / "run", Refuses())
