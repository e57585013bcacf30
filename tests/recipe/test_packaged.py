"""The recipes that come with distill, with their real models on a small share of their data."""

import json
from pathlib import Path

import pytest
from helpers.fresh_process import run_distill, run_function
from sentence_transformers import SentenceTransformer

from distill.generate.brainstorm.schemas import make_example_schema, parse_json_reply
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import load_recipe
from distill.store.tables import BRAINSTORM, EXAMPLES, LABELS, read_rows

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = {
    "corpus.packages": "[numpy]",  # tests/corpus/docstrings reads several
    "corpus.limit": 60,
    "generate.passages": 5,
    "generate.shard_size": 5,
    "relabel.top_k": 3,
    "generate.filters.round_trip": "null",
    "generate.filters.max_copied": "null",
    "train.align.passages": 40,
    "train.align.sentences": 80,
    "evaluate.speed_texts": 8,
}


def run(recipe: str, folder: Path, **sets: object) -> dict:
    options = [w for k, v in (SMALL | sets).items() for w in ("--set", f"{k}={v}")]
    words = ["run", str(RECIPES / recipe), "--run", str(folder), "--overwrite", "stale", *options]
    done = run_distill(*words)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def adapted(tmp_path_factory) -> Path:
    """The run of the demo's first part."""
    folder = tmp_path_factory.mktemp("first") / "demo-adapt"
    small = ["corpus.packages=[numpy]", "corpus.limit=60", "corpus.held_out=0.02"]
    small += ["generate.free.queries=60", "evaluate.speed_texts=8"]
    options = [word for setting in small for word in ("--set", setting)]
    done = run_distill("run", str(RECIPES / "demo-adapt.yaml"), "--run", str(folder), *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_demo(tmp_path, adapted):
    """The encoder that its first part has adapted is its teacher."""
    sets = {"evaluate.judged.queries": 3, "evaluate.judged.passages": 30}
    sets |= {"evaluate.judged.depth": 3}
    sets |= {"teacher.model": adapted / "student"}
    summary = run("demo.yaml", tmp_path / "demo", **sets, **{"corpus.held_out": 0.03})
    base, student, teacher = (summary["models"][r] for r in ("base", "student", "teacher"))
    assert base["parameters"] == student["parameters"] < teacher["parameters"]
    assert 0.5 < base["score"] < teacher["score"]
    assert student["score"] > 0.5
    assert list(summary["tasks"]) == ["held-out", "judged"]
    searched, asked = (
        [json.loads(line) for line in (tmp_path / "demo" / "judged" / name).open()]
        for name in ("corpus.jsonl", "queries.jsonl")
    )
    assert len(searched) == 30
    assert {query["seed"] for query in asked} <= {passage["_id"] for passage in searched}
    loaded = SentenceTransformer(str(tmp_path / "demo" / "student"))
    assert loaded.encode(["numpy"]).shape == (1, 384)
    assert "kept" in (tmp_path / "demo" / "report.md").read_text()
    assert "kept" in (tmp_path / "demo" / "report.html").read_text()


@pytest.mark.slow
def test_first_part_of_the_demo(adapted):
    """A query encoder over the teacher's vectors, and no LLM."""
    models = json.loads((adapted / "summary.json").read_text())["models"]
    assert models["base"]["score"] == pytest.approx(models["teacher"]["score"], abs=1e-3)
    assert {"bm25", "student + bm25", "teacher + bm25"} <= models.keys()
    assert not (adapted / "generations").exists()


@pytest.mark.slow
def test_recipe_that_distils_a_judge(tmp_path):
    """The LLM judges a few short lists, and the judge that learns from them all others."""
    sets = {
        "corpus.limit": 80,
        "corpus.held_out": 0.05,
        "generate.free.queries": 60,
        "generate.passages": 8,
        "generate.shard_size": 8,
        "relabel.top_k": 4,
        "train.align.passages": 60,
        "train.align.sentences": 120,
        "judge.queries": 12,
        "judge.epochs": 1,
        "judge.max_tokens": 48,
        "judge.depth": 10,
        "relabel.check.queries": 30,
        "relabel.max_passage_words": 24,
        "relabel.negative_count": 1,
        "student.max_tokens": 48,
        "evaluate.speed_texts": 0,
    }
    summary = run("judge-tiny.yaml", tmp_path / "run", **sets)
    assert summary["models"]["student"]["score"] > 0
    pairs = list(read_rows(LABELS, tmp_path / "run" / "round-judge" / "labels"))
    assert len({row["query_id"] for row in pairs}) == 12
    assert all(row["ql"] is not None for row in pairs)
    wide = list(read_rows(LABELS, tmp_path / "run" / "labels"))
    assert len({row["query_id"] for row in wide}) > 40
    assert all(row["ql"] is None for row in wide)
    assert "reordered by the judge" in (tmp_path / "run" / "report.md").read_text()


def test_demos_two_parts_have_one_corpus_and_one_teacher():
    adapt, main = (load_recipe(RECIPES / f"{name}.yaml") for name in ("demo-adapt", "demo"))
    assert adapt.corpus == main.corpus
    assert adapt.teacher == main.teacher
    made = (RECIPES.parent / "Makefile").read_text()
    first, second = (made.index(f"run recipes/{name}.yaml") for name in ("demo-adapt", "demo"))
    assert first < second < made.index("teacher.model=artifacts/demo-adapt/student")


SYSTEMS = ["gecko", "gecko-256", "e5-mistral", "nv-embed", "gte-qwen2", "leaf"]
TINY = {
    "corpus.held_out": 0.02,
    "train.epochs": 1,
    "train.batch_size": 8,
    "relabel.negative_count": 1,
    "evaluate.speed_texts": 0,
}
BRAINSTORMED = {
    "generate.brainstorm.groups": "[short-short, sts]",
    "generate.brainstorm.examples": 10,
    "generate.brainstorm.max_new_tokens": 128,
    "evaluate.tasks": "[mine]",
    "generate.shots": 4,
}


def print_vector(student: Path, query: str) -> None:
    """Latent attention is a module of distill's: plain sentence-transformers does not know it."""
    print(json.dumps(load_sentence_model(student).encode_query(query).tolist()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """One run for all systems that write the same queries: each redoes the student alone."""
    return tmp_path_factory.mktemp("systems") / "run"


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_tiny_recipe_of_a_system(system, shared, tmp_path, recipe_file):
    """It runs through with its real models, and its student loads by itself."""
    folder, sets = (shared, dict(TINY))
    if system == "e5-mistral":
        folder, sets = tmp_path / system, dict(BRAINSTORMED)
        sets["evaluate.task_data"] = recipe_file.parent / "tasks"
    summary = run(f"{system}-tiny.yaml", folder, **sets)
    assert summary["models"]["student"]["score"] > 0
    query = "how do I sort an array"
    done = run_function(print_vector, folder / "student", query)
    assert done.returncode == 0, done.stderr
    student = load_sentence_model(folder / "student")
    assert json.loads(done.stdout) == pytest.approx(student.encode_query(query).tolist(), abs=1e-5)
    if system == "e5-mistral":
        assert_brainstormed_in_form(folder)
    if system == "gecko-256":
        assert "student@256" in summary["models"]
    if system == "leaf":
        assert "student queries, teacher documents" in summary["models"]


def assert_brainstormed_in_form(run: Path) -> None:
    """A real LLM keeps to the form of most replies, and examples come of them."""
    written = list(read_rows(BRAINSTORM, run / "brainstorm-generations"))
    formed = [parse_json_reply(row, make_example_schema(row["task_type"], None)) for row in written]
    assert len(written) == 10
    assert sum(reply.reason is None for reply in formed) >= 8
    examples = list(read_rows(EXAMPLES, run / "examples-brainstorm"))
    assert len(examples) >= 5
    for row in examples:
        assert row["query"].split()
        assert row["positive"] != row["query"]


@pytest.mark.parametrize("system", [*SYSTEMS, *(f"{name}-tiny" for name in SYSTEMS)])
def test_recipe_of_a_system_is_valid(system):
    assert load_recipe(RECIPES / f"{system}.yaml").name == system
