"""`distill evaluate` and `distill compare`, as a person calls them, on tiny models."""

import json
import shutil
from itertools import pairwise

import pytest
from click.testing import CliRunner
from helpers.tiny_models import TEXTS, make_tiny_encoder

from distill.cli import cli
from distill.errors import UserError
from distill.store.run import Run

mteb = pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def task_data(tmp_path_factory):
    """Own tasks of two kinds: queries with judgments, and pairs with scores."""
    folder = tmp_path_factory.mktemp("data") / "tasks"
    (folder / "mine" / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
    queries = [{"_id": f"q{i}", "text": text[:20]} for i, text in enumerate(TEXTS)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "mine" / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(len(TEXTS)))
    (folder / "mine" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    (folder / "pairs").mkdir()
    rows = "".join(f"{a}\t{b}\t{i % 5}\n" for i, (a, b) in enumerate(pairwise(TEXTS)))
    (folder / "pairs" / "test.tsv").write_text(f"sentence1\tsentence2\tscore\n{rows}")
    return folder


@pytest.fixture(scope="module")
def prompted(tmp_path_factory):
    """A model whose configuration says with which prompts it was trained."""
    prompts = {"query": "tides: ", "document": "owl: "}
    return make_tiny_encoder(tmp_path_factory.mktemp("prompted") / "model", prompts=prompts)


def call(*words, refused=False):
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=refused)
    if refused:
        assert isinstance(done.exception, UserError)
        return done.exception
    assert done.exit_code == 0
    return done.stdout


def test_evaluate_names_category_and_metric(encoder_folder, task_data, tmp_path):
    words = ("--tasks", "mine,pairs", "--task-data", task_data, "--out", tmp_path)
    lines = call("evaluate", encoder_folder, *words).splitlines()
    assert [line.split("\t")[:3] for line in lines[:2]] == [
        ["mine", "Retrieval", "nDCG@10"],
        ["pairs", "STS", "Spearman"],
    ]
    results = mteb.ResultCache(tmp_path).load_results().model_results[0].task_results
    found = {result.task_name: f"{result.get_score():.4f}" for result in results}
    assert found == {line.split("\t")[0]: line.split("\t")[3] for line in lines[:2]}
    low, _, high = lines[0].split("\t")[4].partition(" to ")
    assert float(low) <= float(found["mine"]) <= float(high)
    assert lines[0].split("\t")[5] == f"n = {len(TEXTS)}"
    beside = [cell.split(" ")[0] for cell in lines[0].split("\t")[6:]]
    assert beside == ["recall@10", "recall@100", "MRR@10", "MAP@10"]
    assert lines[1].split("\t")[4] == "no interval"


def test_evaluate_prints_json_on_request(encoder_folder, task_data, tmp_path):
    words = ("--tasks", "mine,pairs", "--task-data", task_data, "--out", tmp_path, "--json")
    told = json.loads(call("evaluate", encoder_folder, *words))
    assert [task["task"] for task in told["tasks"]] == ["mine", "pairs"]
    assert told["tasks"][0]["low"] <= told["tasks"][0]["score"] <= told["tasks"][0]["high"]
    assert told["tasks"][0]["items"] == len(TEXTS)
    measures = told["tasks"][0]["measures"]
    assert measures.keys() == {"recall_at_10", "recall_at_100", "mrr_at_10", "map_at_10"}
    # Each query has one relevant document.
    assert measures["map_at_10"] == pytest.approx(measures["mrr_at_10"], abs=1e-5)
    assert told["tasks"][1]["low"] is None
    assert told["tasks"][1]["measures"] == {}
    assert told["results"] == str(tmp_path / "results")


def test_compare_shows_and_writes_the_verdict(encoder_folder, teacher_folder, task_data, tmp_path):
    words = ("--tasks", "mine,pairs", "--task-data", task_data, "--out", tmp_path)
    variants = ("--widths", "16,8", "--precisions", "int8,binary")
    shown = call("compare", encoder_folder, teacher_folder, encoder_folder, *words, *variants)
    summary = json.loads((tmp_path / "summary.json").read_text())
    again = json.loads(call("compare", encoder_folder, teacher_folder, *words, "--json"))
    assert again == json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["models"]) == [
        "base",
        "student",
        "student@16",
        "student@8",
        "student int8",
        "student binary",
        "teacher",
        "bm25",
        "base + bm25",
        "student + bm25",
        "teacher + bm25",
    ]
    assert summary["models"]["bm25"]["tasks"].keys() == {"mine"}
    assert summary["models"]["bm25"]["score"] is None
    assert summary["differences"]["student - bm25"]["overall"]["items"] == len(TEXTS)
    assert shown.splitlines()[0].startswith("Ship ")
    assert list(summary["tasks"]) == ["mine", "pairs"]
    for told in ("Student - teacher", "mean (task type)", "Variants - student", "(STS)"):
        assert told in shown
    flat = " ".join(shown.split())
    assert "NO better than the base model" in flat
    assert f"kept {summary['kept']:.1%} of the teacher's mean over tasks" in flat
    assert json.loads((tmp_path / "items.json").read_text())["pairs"] == {}

    # What was measured once can be somebody's reference.
    only = tmp_path / "reference" / "results"
    (theirs,) = (tmp_path / "results").glob("*-teacher")
    shutil.copytree(theirs, only / theirs.name)
    words = (*words, "--published", tmp_path / "reference")
    shown = call("compare", encoder_folder, encoder_folder, *words)
    assert f"teacher (mteb {mteb.__version__})" in " ".join(shown.split())
    again = json.loads((tmp_path / "summary.json").read_text())
    (published,) = [model for model in again["models"].values() if model["published"]]
    assert published["tasks"] == summary["models"]["teacher"]["tasks"]


def test_compare_fails_on_request(encoder_folder, teacher_folder, task_data, tmp_path):
    words = ("--tasks", "mine", "--task-data", task_data, "--out", tmp_path, "--no-speed")
    same = ("compare", encoder_folder, teacher_folder, encoder_folder, *words)
    assert call(*same, "--fail-if", "worse").startswith("Ship ")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["verdict"]["kind"], summary["verdict"]["against"]) == ("unclear", "base")
    done = CliRunner().invoke(cli, [str(word) for word in (*same, "--fail-if", "not-better")])
    assert done.exit_code == 1
    assert "The verdict is 'unclear'" in done.stderr
    assert "summary: " in done.stdout


def test_compare_on_a_runs_search_by_sentences_says_nothing_of_bm25(
    encoder_folder, teacher_folder, task_data, tmp_path
):
    with Run(tmp_path / "run") as run:
        made = run.open_stage("known-item", {})
        shutil.copytree(task_data / "mine", made.folder, dirs_exist_ok=True)
        made.finish(counts={"by title": 2, "by sentence": 10, "searched passages": 12})
    words = ("--tasks", "known-item", "--task-data", tmp_path / "run", "--out", tmp_path)
    shown = call("compare", encoder_folder, teacher_folder, encoder_folder, *words, "--no-speed")
    assert shown.startswith("By a search for documents by sentences, which does not decide on BM25")
    verdict = json.loads((tmp_path / "summary.json").read_text())["verdict"]
    assert verdict["rests_on"] == {"known-item": "sentences"}
    assert verdict["comparisons"].keys() == {"base", "teacher"}


def test_compare_without_baselines_and_with_a_wider_margin(encoder_folder, task_data, tmp_path):
    words = ("--tasks", "mine", "--task-data", task_data, "--out", tmp_path, "--no-speed")
    stems = call("compare", encoder_folder, encoder_folder, *words, "--bm25-language", "english")
    assert "student + BM25" in " ".join(stems.split())
    assert len(list((tmp_path / "results" / "distill__bm25").iterdir())) == 1
    call("compare", encoder_folder, encoder_folder, *words)
    assert len(list((tmp_path / "results" / "distill__bm25").iterdir())) == 2
    call("compare", encoder_folder, encoder_folder, *words, "--no-baselines", "--margin", "0.05")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["models"]) == ["student", "teacher"]
    assert summary["verdict"]["margin"] == 0.05


def test_asymmetric_mode_is_a_row(prompted, encoder_folder, task_data, tmp_path):
    words = ("--tasks", "mine", "--task-data", task_data, "--out", tmp_path, "--asymmetric")
    assert "student queries" in call("compare", prompted, encoder_folder, *words)


def test_benchmark_is_taken_by_name(encoder_folder, tmp_path):
    fault = call("evaluate", encoder_folder, "--benchmark", "MTEB(eng, v3)", refused=True)
    assert "MTEB(eng, v2)" in str(fault)


def test_evaluate_with_other_prompts_than_in_training_wants_force(prompted, task_data, tmp_path):
    words = ("--tasks", "mine", "--task-data", task_data, "--out", tmp_path)
    own = call("evaluate", prompted, *words)
    assert call("evaluate", prompted, *words, "--query-prompt", "tides: ")
    other = (*words, "--query-prompt", "chess: chess chess ")
    assert "query prompt" in str(call("evaluate", prompted, *other, refused=True))
    assert "query prompt" in str(call("compare", prompted, prompted, *other, refused=True))
    assert call("evaluate", prompted, *other, "--force-prompts") != own


def test_template_instructs_the_model(encoder_folder, task_data, tmp_path):
    words = ("--tasks", "mine", "--task-data", task_data, "--out", tmp_path)
    template = "moon moon {instruction}\\nChess: {query}"
    own = call("evaluate", encoder_folder, *words)
    assert call("evaluate", encoder_folder, *words, "--instruction-template", template) != own
    fault = call("evaluate", encoder_folder, *words, "--instruction-template", "x", refused=True)
    assert "{task}" in str(fault)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "no task is named"),
        (("--tasks", "mine", "--widths", "big"), "no list of widths"),
        (("--tasks", "mine", "--widths", "512"), "dimensions"),
        (("--tasks", "mine", "--precisions", "int4"), "int4 is not known"),
    ],
)
def test_impossible_options_of_compare_are_refused_by_name(
    flags, told, encoder_folder, task_data, tmp_path
):
    words = (*flags, "--task-data", task_data, "--out", tmp_path)
    fault = call("compare", encoder_folder, encoder_folder, *words, refused=True)
    assert told in str(fault)
