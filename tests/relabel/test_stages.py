"""All rankers in one cascade, from queries to examples."""

import pytest
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS, make_tiny_cross_encoder

from distill.llm.lazy import LazyLLM
from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import JUDGES, Recipe
from distill.relabel.rankers.passes import RankerSettings
from distill.relabel.stages import relabel
from distill.store.run import Run
from distill.store.stage import open_stage
from distill.store.tables import EXAMPLES, LABELS

PASSAGES = {f"p{n}": text for n, text in enumerate(TEXTS)}
ASKED = [("why do bees dance", "p3"), ("what moves the sea", "p6"), ("wires of copper", "p1")]


@pytest.fixture(scope="module")
def recipe(llm_folder, encoder_folder, tmp_path_factory) -> Recipe:
    cross_encoder = make_tiny_cross_encoder(tmp_path_factory.mktemp("models") / "cross-encoder")
    rule = {
        "rankers": [*JUDGES, "retriever"],
        "fused": True,
        "cross_encoder": str(cross_encoder),
        "cross_encoder_tokens": 32,
        "listwise_window": 2,
        "cascade": {"by": ["cross_encoder"], "keep": 2},
        "top_k": 4,
        "shard_size": 2,
    }
    llm = {"model": str(llm_folder), "dtype": "float32", "device": "cpu"}
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    return Recipe.model_validate({"name": "r", "llm": llm, "retriever": retriever, "relabel": rule})


def test_every_ranker_judges_what_the_cascade_leaves(tmp_path, recipe):
    engine = TransformersEngine(recipe.llm.model, "float32", "cpu")
    with Run(tmp_path / "run", "stale") as run:
        passages, queries, _ = prepare_candidates(run, PASSAGES, ASKED, [["p3"], ["p6"], ["p1"]])
        judged = tmp_path / "judgements.sqlite"
        llm = LazyLLM(lambda: engine, served=True)
        rankers = RankerSettings.select(recipe)
        made = relabel(run, rankers, recipe.seed, passages, queries, llm, judged)
        examples = made.examples.read_rows(EXAMPLES)
    labels = open_stage(tmp_path / "run" / "labels").read_rows(LABELS)
    assert [row["query_id"] for row in examples] == ["q0", "q1", "q2"]
    assert all(row["cross_encoder"] is not None for row in labels)
    later = [judge for judge in JUDGES if judge != "cross_encoder"]
    survivors = [row for row in labels if row["ql"] is not None]
    assert all(row[judge] is not None for row in survivors for judge in later)
    left = [row for row in labels if row["ql"] is None]
    assert left
    assert all(row[judge] is None for row in left for judge in later)
    seeds = {f"q{n}": seed for n, (_, seed) in enumerate(ASKED)}
    assert set(seeds.items()) <= {(row["query_id"], row["passage_id"]) for row in survivors}
    for query_id in seeds:
        worst_judged = min(row["rrf"] for row in survivors if row["query_id"] == query_id)
        others = [row["rrf"] for row in left if row["query_id"] == query_id]
        assert all(rrf < worst_judged for rrf in others)
