"""Each stage declares its fingerprint, which is the one that runs have: another would make them
anew."""

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.overlap_llm import OverlapLLM
from helpers.recipe_keys import read_settings
from helpers.relabel_rows import prepare_candidates
from helpers.task_folders import write_beir
from helpers.tiny_models import TEXTS
from pipeline.test_weigh_rankers import write_documents
from test_names import modules

from distill.api.objects import Models, put_models
from distill.corpus.docstrings.held_out import make_held_out
from distill.corpus.passages import make_split_passages
from distill.evaluate.rerank import evaluate_judge
from distill.generate.brainstorm.examples import select_examples
from distill.generate.brainstorm.generations import write_examples
from distill.generate.brainstorm.task_lists import write_tasks
from distill.generate.brainstorm.tasks import select_tasks
from distill.generate.held_out import make_held_out_queries
from distill.generate.known_item.ranker_queries import make_known_queries
from distill.generate.known_item.stage import make_known_item_task
from distill.generate.labelled.triples import make_labelled
from distill.generate.settings import WritingSettings
from distill.llm.lazy import LazyLLM
from distill.pipeline.weigh_rankers import check_rankers
from distill.recipe import Recipe, override
from distill.relabel.judge_lists import make_list_judgements
from distill.relabel.judgements import make_judgements
from distill.relabel.rankers.passes import RankerSettings
from distill.relabel.teaching import select_queries
from distill.store.run import Run
from distill.store.stage import Stage, fingerprint
from distill.tasks.decontaminate import EvaluationSet

EVALUATED = [EvaluationSet("SciFact", "0123", lambda: ["bees dance"], lambda: iter(["bees"]))]
SERVED: dict[str, Any] = {
    "llm": {"engine": "http", "model": "writer", "base_url": "http://localhost:1/v1"},
    "retriever": {"model": "finder", "base_url": "http://localhost:1/v1"},
    "student": {"encoder": "small"},
    "relabel": {"check": {"queries": 30}, "rankers": ["retriever", "bm25"], "weights": "auto"},
}
"""Of a model behind a server the name alone is in fingerprints, and no file's checksum."""


class Place(NamedTuple):
    """Where a stage is opened."""

    run: Run
    folder: Path

    def write_corpus(self) -> Path:
        """A corpus of whole documents."""
        file = self.folder / "documents.jsonl"
        rows = ({"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS))
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return file

    def make_beside(self, name: str) -> Stage:
        """A stage that another one is made from."""
        return self.run.open_stage(name, {})


def search_known_items(place: Place, of: Recipe) -> Any:
    corpus = of.model_copy(deep=True).corpus
    corpus.path = str(write_documents(place.folder / "many.jsonl", 80))
    with Run(place.folder / "outer", "stale") as outer:
        passages, held_out = make_split_passages(outer, corpus, of.seed, [])
    assert held_out is not None
    known = of.evaluate.known_item
    return make_known_item_task(place.run, known, corpus, of.seed, passages, held_out)


def teach_by_some_queries(place: Place, of: Recipe) -> Any:
    with Run(place.folder / "outer", "stale") as outer:
        _, queries, _ = prepare_candidates(outer, {"p": "bees"}, [("where", "p")] * 3, [])
    return select_queries(place.run, queries, 2, of.seed)


def no_llm() -> OverlapLLM:
    raise AssertionError("the LLM was asked for")


def split_corpus(place: Place, of: Recipe) -> Any:
    return make_split_passages(place.run, of.corpus, of.seed, of.evaluate.tasks)


def make_labelled_examples(place: Place, of: Recipe) -> Any:
    rows = "".join(f"{text}\t{i % 2}\n" for i, text in enumerate(TEXTS))
    (place.folder / "labelled.tsv").write_text("text\tlabel\n" + rows)
    return make_labelled(place.run, of.generate, of.seed, place.folder, EVALUATED)


def make_queries_held_out(place: Place, of: Recipe) -> Any:
    recipe, llm = put_models(of, Models(llm=OverlapLLM())), OverlapLLM()
    writing, passages = WritingSettings.select(recipe), make_numbered_passages(place.run)
    pool = recipe.evaluate.judged
    return make_held_out_queries(place.run, pool, writing, None, passages, None, lambda: llm)


def judge_candidates(name: str) -> Callable[[Place, Recipe], Any]:
    """Opens the stage of one ranker's judgements."""

    def make(place: Place, of: Recipe) -> Any:
        texts = {f"p{i}": text for i, text in enumerate(TEXTS)}
        inputs = prepare_candidates(place.run, texts, [("bees", "p0")], [["p0", "p1"]])
        settings, cache = RankerSettings.select(of), place.folder / "judged.sqlite"
        if name == "listwise":
            return make_list_judgements(place.run, settings, *inputs, no_llm, cache)
        return make_judgements(place.run, settings, name, *inputs, no_llm, cache)  # type: ignore[arg-type]

    return make


def evaluate_reranker(place: Place, of: Recipe) -> Any:
    write_beir(place.folder / "tasks" / "mine")
    recipe = override(
        of, {"evaluate.tasks": ["mine"], "evaluate.task_data": str(place.folder / "tasks")}
    )
    return evaluate_judge(place.run, recipe, place.make_beside("judge"))


class Case(NamedTuple):
    """How a stage is opened, and the hash of what its fingerprint is made of."""

    make: Callable[[Place, Recipe], Any]
    mark: str
    settings: Mapping[str, Any] = MappingProxyType({})
    stage: str | None = None


HELD_OUT = {"corpus.held_out": 0.5, "corpus.hold_out_by": "section", "corpus.limit": 9}
OF_DOCSTRINGS = {"corpus.source": "docstrings", "corpus.held_out": 0.2}
CASES = {
    "passages": Case(split_corpus, "dd519820e1c0aefe"),
    "passages of a part": Case(split_corpus, "92b337b22b03784c", HELD_OUT, "passages"),
    "passages-held-out": Case(split_corpus, "824f83938a15c9de", HELD_OUT),
    "held-out": Case(
        lambda at, of: make_held_out(at.run, of.corpus, of.seed), "2f4629b8e2243cf1", OF_DOCSTRINGS
    ),
    "known-item": Case(search_known_items, "25900f8db9e8ae5c", {"corpus.held_out": 0.6}),
    "passages of known queries": Case(
        lambda at, of: make_known_queries(
            at.run, of.relabel.check, "Find it.", of.seed, at.make_beside("corpus")
        ),
        "b19ff6121156a8f6",
        stage="passages",
    ),
    "known queries": Case(
        lambda at, of: make_known_queries(
            at.run, of.relabel.check, "Find it.", of.seed, at.make_beside("corpus")
        ),
        "7fe060b2dc845d3a",
        stage="queries",
    ),
    "queries that teach the judge": Case(
        teach_by_some_queries, "5fef9213ddb63805", stage="queries"
    ),
    "examples-labelled": Case(
        make_labelled_examples,
        "e7bfc42e5ea4406b",
        {"generate.labelled": [{"path": "labelled.tsv", "task": "Find the kind."}]},
    ),
    "brainstorm-tasks": Case(
        lambda at, of: write_tasks(at.run, WritingSettings.select(of), no_llm), "dc804022759db831"
    ),
    "tasks": Case(
        lambda at, of: select_tasks(
            at.run,
            of.generate.brainstorm,
            of.retriever,
            at.make_beside("brainstorm-tasks"),
            LazyLLM(no_llm),
        ),
        "77f48fd91a901947",
    ),
    "brainstorm-generations": Case(
        lambda at, of: write_examples(
            at.run, WritingSettings.select(of), at.make_beside("tasks"), no_llm
        ),
        "2e3d840f4af96bb9",
        {"generate.brainstorm.shares": {"sts": 2.0}},
    ),
    "examples-brainstorm": Case(
        lambda at, of: select_examples(
            at.run, of.generate, at.folder, at.make_beside("brainstorm-generations"), EVALUATED
        ),
        "6085873ca37ce274",
    ),
    "queries-held-out": Case(make_queries_held_out, "974949bbf2091175"),
    "judgements-rc": Case(judge_candidates("rc"), "99a8dbd7c68f3c18"),
    "judgements-listwise": Case(judge_candidates("listwise"), "3aa58414df115377"),
    "judge-evaluation": Case(evaluate_reranker, "338c9958bf569e2a"),
    "ranker-check": Case(
        lambda at, of: check_rankers(
            at.run, of, make_numbered_passages(at.run), LazyLLM(no_llm), at.folder / "judged.sqlite"
        ),
        "5d3715c21951397c",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fingerprint_is_that_of_earlier_runs(tmp_path, name):
    case = CASES[name]
    stage = case.stage or name
    with Run(tmp_path / "run", "stale") as run:
        place = Place(run, tmp_path)
        recipe = override(
            Recipe.model_validate({"name": "earlier", **SERVED}),
            {"corpus.path": str(place.write_corpus()), **case.settings},
        )
        settings = read_settings(stage, lambda of: case.make(place, of), recipe)
    assert fingerprint(stage, drop_versions(settings), {}) == case.mark, settings


def drop_versions(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what depends on the libraries that are installed."""
    kept = {key: value for key, value in settings.items() if key != "source"}
    if isinstance(kept.get("tasks"), dict):
        kept["tasks"] = list(kept["tasks"])
    return kept


OPENERS = {"open_stage", "open_prepared"}


def test_modules_that_open_a_stage_declare_its_fingerprint():
    missing = []
    for name, tree in modules():
        nodes = [*ast.walk(tree)]
        calls = [node for node in nodes if isinstance(node, ast.Call) and len(node.args) > 1]
        opens = any(isinstance(of.func, ast.Attribute) and of.func.attr in OPENERS for of in calls)
        names = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        if opens and "fingerprint" not in names and name != "store/run.py":
            missing.append(name)
    assert missing == []
