"""The check of rankers by queries that no language model wrote, and the weights that follow."""

import json
import logging
import random
from pathlib import Path

import pytest
from helpers.in_memory import make_in_memory_encoder
from helpers.overlap_llm import OverlapLLM
from helpers.query_side_recipe import load_query_route

import distill
from distill.llm import Score
from distill.pipeline.weigh_rankers import compare_rankers
from distill.recipe import Recipe, override
from distill.store.stage import open_stage
from distill.store.tables import LABELS, PASSAGES, QUERIES, read_rows


def write_documents(file: Path, count: int) -> Path:
    """Documents whose every sentence, and whose title, has the three words of its subject; their
    other words are drawn."""
    draw = random.Random(5)
    with file.open("w", encoding="utf-8") as out:
        for n in range(count):
            subject = [f"{syllable}{n}" for syllable in ("ka", "lo", "mi")]
            sentences = []
            for _ in range(4):
                words = [*subject, *(f"w{draw.randint(0, 400)}" for _ in range(7))]
                sentences.append(" ".join(draw.sample(words, len(words))).capitalize() + ".")
            row = {"_id": f"d{n}", "title": " ".join(subject), "text": " ".join(sentences)}
            out.write(json.dumps(row) + "\n")
    return file


class ContraryLLM(OverlapLLM):
    """Says yes to what shares no word with the query."""

    def _judge(self, prefix, text, endings):
        judged = super()._judge(prefix, text, endings)
        return Score(judged.logprob, judged.tokens, judged.endings[::-1])


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder, tmp_path_factory) -> Recipe:
    corpus = write_documents(tmp_path_factory.mktemp("check") / "docs.jsonl", 80)
    settings = {
        "corpus.path": str(corpus),
        "corpus.max_tokens": 256,
        "relabel.rankers": ["retriever", "bm25", "rc"],
        "relabel.weights": "auto",
        "relabel.check.queries": 60,
        "relabel.check.top_k": 4,
        "student.route": "both",
        "train.objective": {"infonce": 1.0},
    }
    return override(load_query_route(recipe_file, encoder_folder), settings)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, recipe) -> Path:
    folder = tmp_path_factory.mktemp("check-run") / "run"
    distill.relabel(recipe, folder, llm=ContraryLLM(), retriever=make_in_memory_encoder())
    return folder


def test_queries_are_taken_out_of_the_passages_that_they_ask_for(run_folder):
    inner = run_folder / "round-check"
    passages = {row["passage_id"]: row for row in read_rows(PASSAGES, inner / "passages")}
    queries = list(read_rows(QUERIES, inner / "queries"))
    assert {row["task_type"] for row in queries} == {"titles", "sentences"}
    assert 30 <= len(queries) <= 60
    whole = {row["passage_id"]: row for row in read_rows(PASSAGES, run_folder / "passages")}
    for row in queries:
        known, before = passages[row["seed_id"]], whole[row["seed_id"]]
        assert row["query"] not in f"{known['title']} {known['text']}"
        assert row["query"] in f"{before['title']} {' '.join(before['text'].split())}"
    asked = {row["seed_id"] for row in queries}
    assert all(whole[id_] == row for id_, row in passages.items() if id_ not in asked)


def test_ranker_worse_than_the_retriever_is_left_out(run_folder, recipe):
    found = open_stage(run_folder / "ranker-check").manifest["figures"]["rankers"]
    assert found["rc"]["left_out"]
    assert found["rc"]["high"] < 0
    assert found["bm25"]["accuracy"] > found["retriever"]["accuracy"] > found["rc"]["accuracy"]
    assert found["bm25"]["weight"] == 1
    assert 0 < found["retriever"]["weight"] < 1
    assert found["rc"]["weight"] == 0
    # It judged the short lists of the check, and no pair of the run.
    assert (run_folder / "round-check" / "judgements-rc").is_dir()
    assert not (run_folder / "judgements-rc").exists()
    labels = open_stage(run_folder / "labels")
    assert labels.manifest["settings"]["rankers"] == ["retriever", "bm25"]
    one = labels.read_rows(LABELS)[0]
    weights = {name: found[name]["weight"] for name in ("retriever", "bm25")}
    fused = weights["retriever"] / one["retriever_rank"] + weights["bm25"] / one["bm25_rank"]
    assert one["rrf"] == pytest.approx(fused, rel=1e-5)


def test_report_and_the_log_name_it(run_folder, recipe, caplog):
    with caplog.at_level(logging.WARNING):
        distill.relabel(
            recipe, run_folder, llm=ContraryLLM(), retriever=make_in_memory_encoder()
        )  # nothing is done again
    assert "ranker rc is left out: it puts the known passage first" in caplog.text
    page = distill.report(run_folder).read_text()
    assert "Queries that no language model wrote" in page


@pytest.mark.parametrize(("term", "route"), [("kl", "both"), ("corpus_softmax", "query")])
def test_scores_that_training_learns_stay(recipe, run_folder, tmp_path, term, route):
    settings = {"train.objective": {term: 1.0}, f"train.{term}": {"scores": "rc"}}
    learns = override(recipe, {**settings, "student.route": route})
    distill.relabel(learns, tmp_path / "run", llm=ContraryLLM(), retriever=make_in_memory_encoder())
    labels = open_stage(tmp_path / "run" / "labels")
    assert labels.manifest["settings"]["weights"]["rc"] == 0
    assert all(row["rc"] is not None for row in labels.read_rows(LABELS))


def test_plan_of_a_run_counts_the_check(recipe, tmp_path):
    lines = [line.stage for line in distill.estimate(recipe, tmp_path / "run", sample=0).lines]
    assert lines.index("round-check/judgements-bm25") < lines.index("judgements-bm25")


def label(query: int, passage: str, retriever: int, ql: int | None):
    return {
        "query_id": f"q{query}",
        "passage_id": passage,
        "retriever_rank": retriever,
        "ql_rank": ql,
    }


def test_rankers_are_compared_query_by_query():
    recipe = Recipe.model_validate({"name": "r", "relabel": {"rankers": ["ql"]}})
    queries = [{"query_id": f"q{n}", "seed_id": "known"} for n in range(40)]
    labels = []
    for n in range(40):
        better = n < 20  # of half of the queries ql knows the passage, and the retriever of none
        labels += [label(n, "known", 2, 1 if better else 2), label(n, "other", 1, 2)]
    found = compare_rankers(labels, queries, recipe)
    assert found["ql"]["accuracy"] == found["ql"]["difference"] == 0.5
    assert 0.3 < found["ql"]["low"] < 0.5 < found["ql"]["high"] < 0.7
    assert found["retriever"]["difference"] == found["retriever"]["low"] == 0
    assert not found["ql"]["left_out"]


def test_ranker_is_compared_on_the_queries_that_it_has_a_verdict_on():
    """The retriever finds 40 of 50 known passages. ql finds as many of the 40 that it has judged;
    the ten without a verdict, such as a reply that could not be read, say nothing against it."""
    recipe = Recipe.model_validate({"name": "r", "relabel": {"rankers": ["ql", "rc", "graded"]}})
    queries = [{"query_id": f"q{n}", "seed_id": "known"} for n in range(50)]
    labels = []
    for n in range(50):
        found_by_retriever = 1 if n % 5 else 2
        known = label(n, "known", found_by_retriever, found_by_retriever if n >= 10 else None)
        few = {"rc_rank": 2 if n < 5 else None, "graded_rank": None}
        labels += [known | few, label(n, "other", 3 - found_by_retriever, 1) | few]
    found = compare_rankers(labels, queries, recipe)
    assert found["retriever"]["queries"] == 50
    assert found["retriever"]["accuracy"] == 0.8
    assert (found["ql"]["queries"], found["ql"]["accuracy"]) == (40, 0.8)
    assert (found["ql"]["difference"], found["ql"]["left_out"]) == (0, False)
    assert found["ql"]["weight"] == pytest.approx(found["retriever"]["weight"], abs=0.03)
    # Too few to say that it is worse; and one without any.
    assert (found["rc"]["queries"], found["rc"]["low"], found["rc"]["left_out"]) == (5, None, False)
    assert found["rc"]["weight"] == found["graded"]["weight"] == 0.05
    assert (found["graded"]["queries"], found["graded"]["accuracy"]) == (0, None)


@pytest.mark.bad_input("relabel", "weights auto of a corpus of a few short texts", "all weigh 1")
def test_corpus_without_known_items_weighs_all_alike(recipe, recipe_file, tmp_path, caplog):
    few = override(recipe, {"corpus.path": str(recipe_file.parent / "corpus.jsonl")})
    with caplog.at_level(logging.WARNING):
        distill.relabel(few, tmp_path / "run", llm=OverlapLLM(), retriever=make_in_memory_encoder())
    assert "every ranker weighs the same" in caplog.text
    weights = open_stage(tmp_path / "run" / "labels").manifest["settings"]["weights"]
    assert weights == {"retriever": 1.0, "bm25": 1.0, "rc": 1.0}
