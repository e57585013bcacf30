"""BM25 as a ranker: the scores of bm25s itself, of every candidate, and what they change."""

import bm25s
import numpy as np
import pytest
from helpers.relabel_rows import prepare_candidates
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.llm.lazy import LazyLLM
from distill.recipe import Recipe
from distill.relabel.candidates import make_candidates
from distill.relabel.choose import make_examples
from distill.relabel.fuse import make_labels
from distill.relabel.rankers.bm25 import make_bm25_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.relabel.stages import relabel
from distill.retrieve import terms
from distill.retrieve.terms import make_term_splitter
from distill.store.run import Run
from distill.store.tables import EXAMPLES, JUDGEMENTS, LABELS

PASSAGES = {f"p{n}": text for n, text in enumerate(TEXTS)}
ASKED = [("Why do bees dance?", "p3"), ("zebra", "p6"), ("wires of copper", "p1")]
FOUND = [["p3", "p1", "p5"], ["p6", "p2"], ["p0", "-p1"]]


def recipe(**sections) -> Recipe:
    rule = {"rankers": ["bm25", "retriever"], "shard_size": 2} | sections.pop("relabel", {})
    return Recipe.model_validate({"name": "r", "relabel": rule, **sections})


def judge_by_bm25(run, recipe, *stages):
    return make_bm25_judgements(run, recipe.retriever.bm25, recipe.relabel.shard_size, *stages)


def judged(run, rule):
    passages, queries, candidates = prepare_candidates(run, PASSAGES, ASKED, FOUND)
    return judge_by_bm25(run, rule, passages, queries, candidates)


def without_llm() -> LazyLLM:
    def load():
        raise AssertionError("an LLM was loaded")

    return LazyLLM(load, served=True)


@pytest.mark.parametrize(
    "settings", [{}, {"language": "english"}, {"language": "english", "k1": 0.9, "b": 0.2}]
)
def test_every_candidate_has_the_score_that_bm25s_gives_it(tmp_path, settings):
    of = make_term_splitter(settings.get("language"))
    index = bm25s.BM25(method="lucene", k1=settings.get("k1", 1.5), b=settings.get("b", 0.75))
    index.index([of(text) for text in PASSAGES.values()], show_progress=False)
    with Run(tmp_path) as run:
        stage = judged(run, recipe(retriever={"bm25": settings}))
        rows = stage.read_rows(JUDGEMENTS)
    assert [row["passage_id"] for row in rows] == ["p3", "p1", "p5", "p6", "p2", "p0", "p1"]
    for row in rows:
        query = ASKED[int(row["query_id"][1:])][0]
        known = [term for term in of(query) if term in index.vocab_dict]
        scores = index.get_scores(known) if known else np.zeros(len(PASSAGES))
        assert row["score"] == pytest.approx(scores[list(PASSAGES).index(row["passage_id"])])
    assert [row["score"] for row in rows if row["query_id"] == "q1"] == [0.0, 0.0]
    assert rows[0]["score"] > 0


def test_lost_shard_is_made_again_with_the_same_bytes(tmp_path):
    with Run(tmp_path) as run:
        first = judged(run, recipe()).folder / "part-00000.parquet"
        before = first.read_bytes()
    first.unlink()
    manifest = first.parent / ".stage" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    with Run(tmp_path) as run:
        judged(run, recipe())
    assert first.read_bytes() == before


def test_bm25_with_other_settings_judges_anew_and_leaves_the_candidates(tmp_path, encoder_folder):
    def made(k1):
        retriever = {"model": str(encoder_folder), "device": "cpu", "bm25": {"k1": k1}}
        rule = recipe(retriever=retriever)
        with Run(tmp_path, "stale") as run:
            passages, queries, _ = prepare_candidates(run, PASSAGES, ASKED, FOUND)
            candidates = make_candidates(run, rule.retriever, rule.relabel, passages, queries)
            judgements = judge_by_bm25(run, rule, passages, queries, candidates)
            return candidates.fingerprint, judgements.fingerprint

    one, other = made(1.5), made(0.9)
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_better_positive_comes_up_by_bm25_alone(tmp_path):
    """The retriever puts the seed first, and then the passage that has the query's words."""
    asked, found = [("copper wires conduct electricity", "p3")], [["p3", "p1", "p5"]]

    def positive(*rankers: str) -> tuple[str, list]:
        rule = recipe(relabel={"rankers": [*rankers], "negative_count": 1})
        with Run(tmp_path / rankers[0]) as run:
            passages, queries, candidates = prepare_candidates(run, PASSAGES, asked, found)
            judgements = {}
            if "bm25" in rankers:
                made = judge_by_bm25(run, rule, passages, queries, candidates)
                judgements["bm25"] = (made, candidates)
            labels = make_labels(run, rule.relabel, queries, candidates, judgements)
            (example,) = make_examples(
                run, rule.relabel, rule.seed, passages, queries, labels, candidates
            ).read_rows(EXAMPLES)
            return example["positive_id"], labels.read_rows(LABELS)

    assert positive("retriever")[0] == "p3"
    changed, labels = positive("bm25", "retriever")
    assert changed == "p1"
    assert [row["bm25_rank"] for row in labels] == [2, 1, 3]  # equal ones by the retriever
    assert [row["bm25"] for row in (labels[0], labels[2])] == [0.0, 0.0]


def test_relabelling_by_bm25_loads_no_llm(tmp_path, encoder_folder):
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    rule = recipe(retriever=retriever, relabel={"top_k": 4})
    with Run(tmp_path / "run", "stale") as run:
        passages, queries, _ = prepare_candidates(run, PASSAGES, ASKED, FOUND)
        rankers, judged = RankerSettings.select(rule), tmp_path / "judged.sqlite"
        made = relabel(run, rankers, rule.seed, passages, queries, without_llm(), judged)
        labels = made.labels.read_rows(LABELS)
        figures = made.examples.manifest["figures"]
    assert all(row["bm25"] is not None and row["bm25_rank"] for row in labels)
    assert set(figures["seed_rank"]) == {"bm25", "retriever", "fusion"}
    assert sum(figures["scores"]["bm25"]["others"]) > 0


def test_bm25_judges_what_a_cascade_leaves(tmp_path, encoder_folder):
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    cascade = {"cascade": {"by": ["retriever"], "keep": 2}, "top_k": 4}
    rule = recipe(retriever=retriever, relabel=cascade)
    with Run(tmp_path / "run", "stale") as run:
        passages, queries, _ = prepare_candidates(run, PASSAGES, ASKED, FOUND)
        rankers, judged = RankerSettings.select(rule), tmp_path / "judged.sqlite"
        made = relabel(run, rankers, rule.seed, passages, queries, without_llm(), judged)
        judged_ids = [row for row in made.labels.read_rows(LABELS) if row["bm25"] is not None]
    assert 6 <= len(judged_ids) <= 9


@pytest.mark.bad_input("retriever", "the ranker bm25 of a stemmer that is missing", "refused")
def test_stemmer_that_is_not_installed_is_said_before_anything_is_embedded(tmp_path, monkeypatch):
    monkeypatch.setattr(terms.importlib.util, "find_spec", lambda name: None)
    rule = recipe(retriever={"bm25": {"language": "english"}})
    with Run(tmp_path) as run:
        passages, queries, _ = prepare_candidates(run, PASSAGES, ASKED, FOUND)
        with pytest.raises(UserError, match="PyStemmer"):
            make_candidates(run, rule.retriever, rule.relabel, passages, queries)
