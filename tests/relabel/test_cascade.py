"""A cheap first judgement, and the others of what survives it."""

import pytest
from helpers.relabel_rows import prepare_candidates

from distill.llm.transformers.engine import TransformersEngine
from distill.recipe import Recipe
from distill.relabel.cascade import make_survivors
from distill.relabel.fuse import make_labels
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.store.run import Run
from distill.store.tables import CANDIDATES, LABELS

PASSAGES = {
    "bees": "Bees dance to tell other bees where the flowers are.",
    "tides": "Tides follow the moon: the sea rises and falls twice a day.",
    "wires": "Copper conducts electricity well, so wires are made of it.",
    "owls": "An owl can turn its head so far that it looks behind itself.",
}
ASKED = [("why do bees dance", "owls"), ("what moves the sea", "tides"), ("copper", "wires")]
FOUND = [["bees", "tides", "wires", "owls"], ["tides", "bees", "wires"], ["wires", "-owls"]]


@pytest.fixture(scope="module")
def engine(llm_folder) -> TransformersEngine:
    return TransformersEngine(str(llm_folder), dtype="float32", device="cpu")


def test_first_rankers_choose_who_is_judged_further(tmp_path, llm_folder, engine):
    rule = {
        "rankers": ["ql", "rc", "retriever"],
        "cascade": {"by": ["retriever"], "keep": 2},
        "shard_size": 2,
    }
    llm = {"model": str(llm_folder), "dtype": "float32", "device": "cpu"}
    recipe = Recipe.model_validate({"name": "r", "llm": llm, "relabel": rule})
    with Run(tmp_path) as run:
        passages, queries, candidates = prepare_candidates(run, PASSAGES, ASKED, FOUND)
        stages = (passages, queries)
        survivors = make_survivors(run, recipe.relabel, queries, candidates, {})
        judged = tmp_path / "judgements.sqlite"
        rankers = RankerSettings.select(recipe)
        judgements = {
            name: (
                make_judgements(run, rankers, name, *stages, survivors, lambda: engine, judged),
                survivors,
            )
            for name in ("ql", "rc")
        }
        labels = make_labels(run, recipe.relabel, queries, candidates, judgements).read_rows(LABELS)
    kept = [(row["query_id"], row["passage_id"]) for row in survivors.read_rows(CANDIDATES)]
    # The seed is always judged, however far down it stands.
    assert kept == [
        ("q0", "bees"),
        ("q0", "tides"),
        ("q0", "owls"),
        ("q1", "tides"),
        ("q1", "bees"),
        ("q2", "wires"),
        ("q2", "owls"),
    ]
    assert survivors.manifest["counts"]["left to the first judgement"] == 2
    assert len(labels) == 9
    unjudged = [row["passage_id"] for row in labels if row["ql"] is None]
    assert unjudged == ["wires", "wires"]
    assert all(row["rrf"] > 0 for row in labels)
