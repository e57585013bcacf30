"""A run without labels and without an LLM: held-out documents are searched for by their titles."""

import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from helpers.query_side_recipe import load_query_route
from helpers.tiny_models import TEXTS
from sentence_transformers import SentenceTransformer

import distill
from distill.cli import cli
from distill.corpus.passages import make_split_passages
from distill.corpus.readers.beir import read_beir
from distill.embed.local import LocalEmbedder
from distill.errors import UserError
from distill.evaluate.passage_search import open_searched_stages
from distill.evaluate.stage import RESULTS_FOLDER
from distill.export.search_index import export_index
from distill.generate.known_item.stage import make_known_item_task
from distill.inspect.search import search_run
from distill.recipe import Recipe, override
from distill.start.check import check_recipe
from distill.store.run import Run
from distill.store.tables import PASSAGES, QUERIES, join_passage, read_rows

pytest.importorskip("mteb")
WORDS = re.findall(
    r"\w+", "amber basin cedar delta ember fjord grove heron inlet jetty kelp lagoon"
)


def write_corpus(file: Path, documents: int) -> Path:
    """Documents with titles, of which every tenth has one title with its neighbour."""
    draw = random.Random(3)
    with file.open("w", encoding="utf-8") as out:
        for number in range(documents):
            first, second, third = draw.sample(WORDS, 3)
            code = draw.randint(100, 999_999)
            title = f"{first} {second} {third} {code}"
            if number % 10 < 2:
                title = f"Annual report of group {number // 10}"
            facts = " ".join(draw.sample(TEXTS, 3))
            text = f"{facts} The {third}, numbered {code}, lies near {first} in year {number}."
            out.write(json.dumps({"_id": f"d{number}", "title": title, "text": text}) + "\n")
    return file


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder, tmp_path_factory) -> Recipe:
    corpus = write_corpus(tmp_path_factory.mktemp("known") / "docs.jsonl", 150)
    settings = {
        "corpus.path": str(corpus),
        "corpus.max_tokens": 256,
        "corpus.held_out": 0.4,
        "evaluate.tasks": ["known-item"],
        "evaluate.known_item.queries": 40,
    }
    return override(load_query_route(recipe_file, encoder_folder), settings)


def make_task(folder: Path, recipe: Recipe) -> Path:
    with Run(folder) as run:
        passages, held_out = make_split_passages(run, recipe.corpus, recipe.seed, [])
        return make_known_item_task(
            run, recipe.evaluate.known_item, recipe.corpus, recipe.seed, passages, held_out
        ).folder


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("known-run") / "run"
    distill.run(recipe, folder)
    return folder


def test_titles_ask_for_held_out_documents_among_all(recipe, tmp_path):
    folder = make_task(tmp_path / "run", recipe)
    task = read_beir(folder)
    out = {
        row["passage_id"]: row for row in read_rows(PASSAGES, tmp_path / "run/passages-held-out")
    }
    learnt = {row["passage_id"]: row for row in read_rows(PASSAGES, tmp_path / "run/passages")}
    assert len(task.queries) == 40
    assert task.corpus.keys() == out.keys() | learnt.keys()
    assert all(task.corpus[id_]["title"] == row["title"] for id_, row in learnt.items())
    for query, answers in task.qrels.items():
        (answer,) = answers
        assert answer in out
        document = task.corpus[answer]
        assert task.queries[query] not in f"{document['title']} {document['text']}"
        assert "Annual report" not in task.queries[query]


def test_task_that_is_there_is_not_made_again_and_is_equal_elsewhere(recipe, tmp_path):
    one, other = (make_task(tmp_path / name / "run", recipe) for name in "ab")
    files = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
    assert [(one / f).read_bytes() for f in files] == [(other / f).read_bytes() for f in files]
    before = (one / files[0]).stat().st_mtime_ns
    make_task(one.parent, recipe)
    assert (one / files[0]).stat().st_mtime_ns == before


@pytest.mark.bad_input("known-item", "too few held-out documents", "refused before anything else")
def test_known_item_with_too_few_documents(recipe, tmp_path):
    few = override(recipe, {"corpus.held_out": 0.1})
    with pytest.raises(UserError, match=r"held-out documents give a query, and it takes 30"):
        make_task(tmp_path / "run", few)
    assert not (tmp_path / "run" / "known-item").exists()
    faults = [str(one) for one in check_recipe(few, tmp_path / "run", models=False).faults]
    assert any("are held out, and it takes 30" in one for one in faults)


def test_check_says_that_it_is_a_stand_in(recipe, tmp_path):
    result = check_recipe(recipe, tmp_path / "run", models=False)
    assert result.faults == []
    assert any("favours BM25" in one for one in result.notices)


@pytest.mark.bad_input("known-item", "a recipe that holds nothing out", "refused, the key is named")
def test_known_item_with_nothing_held_out(recipe):
    with pytest.raises(UserError, match=r"set corpus\.held_out"):
        override(recipe, {"corpus.held_out": 0.0})


@pytest.mark.bad_input("known-item", "docstrings as corpus", "refused, held-out is named")
def test_docstrings(recipe):
    with pytest.raises(UserError, match="held-out"):
        override(recipe, {"corpus.source": "docstrings"})


@pytest.mark.slow
def test_whole_run_has_a_verdict_and_says_what_it_is_worth(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["tasks"].keys() == {"known-item"}
    assert {"student", "teacher", "bm25", "student + bm25"} <= summary["models"].keys()
    assert summary["models"]["bm25"]["score"] > 0.3
    for report in ("report.md", "report.html"):
        assert "stands in for labelled queries" in (finished / report).read_text()
    out = {row["passage_id"] for row in read_rows(PASSAGES, finished / "passages-held-out")}
    seeds = {row["seed_id"] for row in read_rows(QUERIES, finished / "queries")}
    assert out.isdisjoint(seeds)


@pytest.mark.slow
def test_run_that_lost_its_task_and_results_ends_with_the_same_figures(finished, recipe, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    for name in ("known-item", "evaluation", RESULTS_FOLDER):
        shutil.rmtree(run / name)
    distill.run(recipe, run)
    one, other = (json.loads((of / "summary.json").read_text()) for of in (finished, run))
    for role, model in one["models"].items():
        assert other["models"][role]["tasks"] == model["tasks"]


@pytest.mark.slow
def test_held_out_documents_are_searched_and_exported_too(finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    out = [*read_rows(PASSAGES, run / "passages-held-out")]
    wanted = next(row for row in out if not row["title"].startswith("Annual"))
    asked = f"{wanted['title']} {wanted['text']}"
    for role in ("teacher", "teacher + bm25"):
        found = search_run(run, asked, 3, hybrid="bm25" in role)
        assert found.hits[role][0].passage == wanted
    export_index(str(run), tmp_path / "index", force=True)
    ids = json.loads((tmp_path / "index" / "ids.json").read_text())
    rows = pq.read_table(tmp_path / "index" / "passages.parquet").to_pylist()
    assert ids == [row["passage_id"] for row in rows]
    assert len(ids) == 150
    vectors = np.load(tmp_path / "index" / "vectors.npy")
    teacher = SentenceTransformer(str(run / "student"))
    own = teacher.encode_document([f"{wanted['title']} {wanted['text']}"])[0]
    np.testing.assert_allclose(vectors[ids.index(wanted["passage_id"])], own, atol=1e-4)


def test_passages_that_only_an_earlier_recipe_held_out_are_not_searched(recipe, tmp_path):
    with Run(tmp_path / "run", "stale") as run:
        make_split_passages(run, recipe.corpus, recipe.seed, [])
        stages = open_searched_stages(run.folder)
        assert [stage.name for stage in stages] == ["passages", "passages-held-out"]
        corpus = recipe.corpus.model_copy(update={"held_out": 0.0})
        make_split_passages(run, corpus, recipe.seed, [])
        assert (run.folder / "passages-held-out").exists()
        assert [stage.name for stage in open_searched_stages(run.folder)] == ["passages"]


@pytest.mark.slow
def test_terminal_says_what_the_task_is_worth(finished, recipe):
    file = finished / "recipe.yaml"
    done = CliRunner().invoke(cli, ["run", str(file), "--run", str(finished)])
    assert done.exit_code == 0, done.output
    assert "stands in for labelled queries" in " ".join(done.output.split())


def test_no_passage_that_is_trained_on_is_embedded_twice_by_the_teacher(
    recipe, tmp_path, monkeypatch
):
    """Its vectors in the run's store serve the evaluation: an endpoint would be paid for twice."""
    embedded: Counter[str] = Counter()
    embed = LocalEmbedder.embed

    def watch(self, texts, prompt, side):
        if side == "document":
            embedded.update(texts)
        return embed(self, texts, prompt, side)

    monkeypatch.setattr(LocalEmbedder, "embed", watch)
    summary = distill.run(override(recipe, {"evaluate.speed_texts": 0}), tmp_path / "run").summary
    trained = {join_passage(row) for row in read_rows(PASSAGES, tmp_path / "run" / "passages")}
    searched = embedded.keys() & trained
    assert len(searched) == len(trained)
    assert max(embedded[text] for text in searched) == 1
    assert summary["models"]["teacher"]["score"] > 0
