"""The main job on tiny models, as a user runs it."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.fresh_process import run_distill
from sentence_transformers import SentenceTransformer

from distill.store.tables import EXAMPLES, LABELS, PASSAGES, QUERIES, TEACHER_SCORES, read_rows


@pytest.fixture(scope="module")
def run(whole_run, tmp_path_factory) -> Path:
    printed = whole_run.with_name("printed").read_text()
    assert "nDCG@10" in printed
    assert "teacher" in printed
    return shutil.copytree(whole_run, tmp_path_factory.mktemp("runs") / "tiny", symlinks=True)


def test_verdict_is_in_summary_json(run):
    summary = json.loads((run / "summary.json").read_text())
    models = summary["models"]
    for role in ("base", "student", "teacher"):
        assert 0 < models[role]["score"] <= 1
        assert models[role]["parameters"] > 0
        assert models[role]["dimensions"] > 0
        assert models[role]["texts_per_second"] > 0
    kept = models["student"]["score"] / models["teacher"]["score"]
    assert summary["kept"] == pytest.approx(kept, abs=1e-3)


def test_run_without_evaluation_tasks_ends_with_the_student(run, tmp_path, recipe_file):
    """The stages up to the student are the evaluated run's own, but for what they are checked
    against."""
    folder = shutil.copytree(run, tmp_path / "run", symlinks=True)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*.parquet")}
    shutil.rmtree(folder / "evaluation")
    for name in ("summary.json", "report.html", "report.md"):
        (folder / name).unlink()
    done = run_distill("run", str(recipe_file), "--run", str(folder), "--set", "evaluate.tasks=[]")
    assert done.returncode == 0, done.stderr
    assert "trained and not measured" in done.stdout
    assert (folder / "student" / "config.json").exists()
    assert (folder / "report.html").exists()
    assert not (folder / "summary.json").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*.parquet")} == before


def test_student_loads_with_sentence_transformers_alone(run):
    student = SentenceTransformer(str(run / "student"))
    assert student.encode(["Bees dance."]).shape == (1, 32)
    assert set(student.prompts) >= {"query", "document"}


def test_every_table_follows_from_the_one_before(run):
    passages = {row["passage_id"] for row in read_rows(PASSAGES, run / "passages")}
    queries = {row["query_id"]: row for row in read_rows(QUERIES, run / "queries")}
    labels = list(read_rows(LABELS, run / "labels"))
    examples = list(read_rows(EXAMPLES, run / "examples"))
    assert {row["seed_id"] for row in queries.values()} <= passages
    assert {row["query_id"] for row in labels} == queries.keys()
    judged = {(row["query_id"], row["passage_id"]) for row in labels}
    for row in queries.values():
        assert (row["query_id"], row["seed_id"]) in judged
    for row in examples:
        assert row["positive_id"] in passages
        assert row["positive_id"] not in row["negative_ids"]
        assert row["seed_id"] not in row["negative_ids"]
        assert row["relabelled"] == (row["positive_id"] != row["seed_id"])


def test_manifest_says_what_relabelling_did(run):
    figures = json.loads((run / "examples/.stage/manifest.json").read_text())["figures"]
    assert 0 <= figures["share_relabelled"] <= 1
    assert 0 <= figures["share_seed_not_retrieved"] <= 1
    assert figures["ql_first_minus_last"] != 0


def test_second_run_does_nothing_again(run, recipe_file):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    done = run_distill("run", str(recipe_file), "--run", str(run))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")} == before


def test_run_folder_continues_by_itself(run):
    done = run_distill("relabel", "--run", str(run))
    assert done.returncode == 0, done.stderr
    assert "examples" in done.stdout


def test_teacher_scores_each_example(run):
    done = run_distill("score-teacher", "--run", str(run))
    assert done.returncode == 0, done.stderr
    examples = list(read_rows(EXAMPLES, run / "examples"))
    scores = list(read_rows(TEACHER_SCORES, run / "teacher-scores"))
    assert [row["query_id"] for row in scores] == [row["query_id"] for row in examples]
    for row, example in zip(scores, examples, strict=True):
        assert -1 <= row["positive_score"] <= 1
        assert len(row["negative_scores"]) == len(example["negatives"])


def test_run_with_other_settings_is_refused_with_the_remedy(run, recipe_file):
    kept = (run / "recipe.yaml").read_bytes()
    words = ("run", str(recipe_file), "--run", str(run), "--set", "relabel.negative_count=2")
    refused = run_distill(*words)
    assert refused.returncode == 2
    assert "negative_count" in refused.stderr
    assert "--overwrite stale" in refused.stderr
    assert (run / "recipe.yaml").read_bytes() == kept
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_run_that_has_passages_alone_reads_them_anew(recipe_file, tmp_path):
    folder = tmp_path / "run"
    words = (str(recipe_file), "--run", str(folder))
    assert run_distill("estimate", *words, "--sample", "0").returncode == 0
    done = run_distill("run", *words, "--set", "corpus.max_tokens=48")
    assert done.returncode == 0, done.stderr
    assert "passages is made again; changed: corpus.max_tokens" in " ".join(done.stderr.split())
    assert [path.name.partition("-")[0] for path in (folder / "superseded").iterdir()] == [
        "passages"
    ]


def test_inspect_shows_the_run_a_table_and_a_query(run):
    assert "judgements-ql" in run_distill("inspect", str(run)).stdout
    rows = run_distill("inspect", str(run), "examples", "--rows", "2").stdout
    assert "positive_id" in rows
    query_id = next(iter(read_rows(EXAMPLES, run / "examples")))["query_id"]
    shown = run_distill("inspect", str(run), "--query", query_id).stdout
    assert "positive" in shown
    assert "negative" in shown
    assert "RRF" in shown
    dropped = run_distill("inspect", str(run), "queries/dropped").stdout
    assert "reason" in dropped


def test_inspect_names_what_there_is(run, tmp_path):
    assert "examples" in run_distill("inspect", str(run), "exmples").stderr
    assert run_distill("inspect", str(tmp_path)).returncode == 2


def test_help_and_the_resolved_recipe(recipe_file):
    assert "Usage" in run_distill("run", "--help").stdout
    resolved = run_distill("run", str(recipe_file), "--print-resolved").stdout
    assert "top_k: 4" in resolved
    assert "rrf_k: 0" in resolved


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["corpus.path=absent.jsonl"], "absent.jsonl"),
        (["llm.model=absent/model"], "absent/model"),
        (["relabel.topk=3"], "relabel.top_k"),
        (["relabel.top_k=many"], "relabel.top_k"),
    ],
)
def test_bad_input_ends_with_code_2_and_leaves_no_table(recipe_file, tmp_path, sets, said):
    options = [word for item in sets for word in ("--set", item)]
    failed = run_distill("generate", str(recipe_file), "--run", str(tmp_path / "run"), *options)
    assert failed.returncode == 2
    assert said in failed.stderr
    assert "remedy" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "run").glob("queries/*"))
