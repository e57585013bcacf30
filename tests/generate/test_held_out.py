"""Queries for held-out passages."""

import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.overlap_llm import OverlapLLM

from distill.api.objects import Models, put_models
from distill.errors import UserError
from distill.generate.held_out import make_held_out_queries
from distill.generate.settings import WritingSettings
from distill.llm import Completion
from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import QUERIES


def make_recipe(llm: OverlapLLM, generate: dict[str, object], **judged: object) -> Recipe:
    settings = {"name": "x", "evaluate": {"judged": {"queries": 8} | judged}, "generate": generate}
    return put_models(Recipe.model_validate(settings), Models(llm=llm))


def write_training_queries(run: Run, queries: list[str]):
    stage = run.open_stage("queries", {"queries": queries}, replaces=True)
    rows = [dict.fromkeys(QUERIES.columns, "") | {"query": query} for query in queries]
    stage.map_shards(QUERIES, [rows], ShardResult)
    stage.finish()
    return stage


def ask(folder, llm, training=(), generate=None, overwrite="never", **judged):
    recipe = make_recipe(llm, generate or {}, **judged)
    with Run(folder, overwrite) as run:
        return make_held_out_queries(
            run,
            recipe.evaluate.judged,
            WritingSettings.select(recipe),
            None,
            make_numbered_passages(run),
            write_training_queries(run, list(training)),
            lambda: llm,
        )


def test_held_out_queries_are_at_most_as_many_as_wanted(tmp_path):
    llm = OverlapLLM()
    made = ask(tmp_path / "run", llm)
    assert len(llm.asked) == 12
    assert 0 < len(made.read_rows(QUERIES)) <= 8
    dropped = sum(n for key, n in made.manifest["counts"].items() if key.startswith("dropped"))
    assert len(made.read_rows(QUERIES)) + dropped == 12


def test_queries_that_training_has_too_are_dropped(tmp_path):
    before = ask(tmp_path / "before", OverlapLLM()).read_rows(QUERIES)
    known = [before[0]["query"], before[1]["query"].upper() + "!"]
    after = ask(tmp_path / "after", OverlapLLM(), known)
    assert {row["query"] for row in before[:2]}.isdisjoint(
        row["query"] for row in after.read_rows(QUERIES)
    )
    assert sum(after.manifest["counts"].values()) >= 2


def test_other_training_queries_leave_the_held_out_ones_as_they_are(tmp_path):
    """And so the pool that was judged for them."""
    first = ask(tmp_path / "run", OverlapLLM())
    shard = next(first.folder.glob("*.parquet")).read_bytes()
    for training in (["what rivers are slow"], [], ["which wires glow"]):
        again = ask(tmp_path / "run", OverlapLLM(), training)
        assert again.fingerprint == first.fingerprint
        assert next(again.folder.glob("*.parquet")).read_bytes() == shard


def test_training_query_that_repeats_a_held_out_one_makes_them_anew(tmp_path):
    first = ask(tmp_path / "run", OverlapLLM())
    repeated = first.read_rows(QUERIES)[0]["query"]
    with pytest.raises(UserError, match="queries-held-out"):
        ask(tmp_path / "run", OverlapLLM(), [repeated])
    again = ask(tmp_path / "run", OverlapLLM(), [repeated], overwrite="stale")
    assert again.fingerprint != first.fingerprint
    assert repeated not in {row["query"] for row in again.read_rows(QUERIES)}


def test_keys_that_the_held_out_prompt_does_not_use_write_nothing_anew(tmp_path):
    first = ask(tmp_path / "run", OverlapLLM())
    for unused in ({"shard_size": 3}, {"lengths": ["long"]}, {"difficulties": ["college"]}):
        llm = OverlapLLM()
        assert ask(tmp_path / "run", llm, generate=unused).fingerprint == first.fingerprint
        assert llm.asked == []
    for used in ({"temperature": 0.5}, {"languages": ["de"]}, {"max_passage_words": 9}):
        with pytest.raises(UserError, match="generations-held-out"):
            ask(tmp_path / "run", OverlapLLM(), generate=used)


def test_finished_stage_asks_nothing_again(tmp_path):
    first = ask(tmp_path / "run", OverlapLLM())
    llm = OverlapLLM()
    assert ask(tmp_path / "run", llm) == first
    assert llm.asked == []


@pytest.mark.bad_input("held-out queries", "an LLM that writes one query only", "the rest dropped")
def test_llm_that_writes_one_query_only(tmp_path):
    class Same(OverlapLLM):
        def generate(self, prompts, seeds, sampling):
            return [Completion(" where do the bees dance", True) for _ in prompts]

    made = ask(tmp_path / "run", Same())
    assert [row["query"] for row in made.read_rows(QUERIES)] == ["where do the bees dance"]


@pytest.mark.bad_input("held-out queries", "an LLM that writes refusals only", "refused")
def test_llm_that_writes_refusals_only(tmp_path):
    class Refuses(OverlapLLM):
        def generate(self, prompts, seeds, sampling):
            return [Completion(" I'm sorry, I cannot help with that.", True) for _ in prompts]

    with pytest.raises(
        UserError, match=r"no held-out query is left \(dropped: refusal or [a-z]+ \d+\)"
    ):
        ask(tmp_path / "run", Refuses())
