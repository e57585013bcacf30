"""The stage `evaluation` and the report of a run."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.tiny_models import TEXTS

from distill.embed.local import LocalEmbedder
from distill.errors import UserError
from distill.evaluate import compare as compare_module
from distill.evaluate.samples.query_groups import DOCUMENT_LENGTH
from distill.evaluate.score import MEASURES
from distill.evaluate.speed import Speed
from distill.evaluate.stage import evaluate_run
from distill.recipe import BM25, Recipe
from distill.report.markdown.report import write_report
from distill.retrieve.fusion import fuse_reciprocal_ranks
from distill.store.run import Run
from distill.tasks import load_task

mteb = pytest.importorskip("mteb")


@pytest.fixture
def recipe(task_data, teacher_folder) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "small",
            "corpus": {"source": "docstrings", "held_out": 0.1},
            "teacher": {"model": str(teacher_folder), "max_tokens": 32},
            "evaluate": {
                "tasks": ["held-out", "SciFact"],
                "task_data": str(task_data),
                "speed_texts": 4,
                "baselines": False,
            },
        }
    )


@pytest.fixture
def evaluated(tmp_path, encoder_folder, prompted_folder, make_beir):
    """Evaluates a run whose earlier stages stand ready."""

    def work(recipe: Recipe, overwrite="never") -> Path:
        with Run(tmp_path / "small", overwrite) as run:
            stages = [
                model_stage(run, "base", encoder_folder),
                model_stage(run, "student", prompted_folder),
            ]
            held_out = run.open_stage("held-out", {})
            if not held_out.complete:
                make_beir(held_out.folder, "test", TEXTS[:9])
                vary_queries(held_out.folder / "queries.jsonl")
                held_out.finish(rows=9)
            evaluate_run(run, recipe, *stages, held_out)
        return tmp_path / "small"

    return work


def vary_queries(file):
    """Three lengths of queries, in turns."""
    rows = [
        {"_id": f"q{i}", "text": " ".join(text.split()[: 3 + i % 3])}
        for i, text in enumerate(TEXTS[:9])
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def model_stage(run, name, folder):
    stage = run.open_stage(name, {})
    if not stage.complete:
        shutil.copytree(folder, stage.folder, dirs_exist_ok=True)
        stage.finish(rows=0, steps=12, loss={"start": 2.5, "end": 0.5})
    return stage


OWN = ["base", "student", "teacher"]
BASELINES = ["bm25", "base + bm25", "student + bm25", "teacher + bm25"]


def test_run_gets_summary_results_and_manifest(evaluated, recipe):
    recipe.evaluate.baselines = True
    folder = evaluated(recipe)
    summary = json.loads((folder / "summary.json").read_text())
    kept = json.loads((folder / "evaluation" / "summary.json").read_text())
    grounds = {"rests_on": {"held-out": "labels", "SciFact": "labels"}, "decides_bm25": True}
    assert kept | {"verdict": kept["verdict"] | grounds} == summary
    for role in ("base", "student", "teacher"):
        assert list(summary["models"][role]["tasks"]) == ["held-out", "SciFact"]
    assert summary["models"]["student"]["model"] == "distill/small-student"
    items = json.loads((folder / "evaluation" / "items.json").read_text())
    assert len(items["held-out"]) == summary["tasks"]["held-out"]["items"] == 9
    assert list(next(iter(items["SciFact"].values()))) == sorted([*OWN, *BASELINES])
    loaded = mteb.ResultCache(folder / "evaluated").load_results(load_experiments="match_name")
    assert len(loaded.model_results) == len([*OWN, *BASELINES])
    manifest = json.loads((folder / "evaluation/.stage/manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["inputs"].keys() == {"base", "student", "held-out"}
    assert manifest["figures"]["kept"] == summary["kept"]
    assert manifest["figures"]["score_student"] == summary["models"]["student"]["score"]


def test_baselines_stand_beside_the_models(evaluated, recipe):
    recipe.evaluate.baselines = True
    folder = evaluated(recipe)
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary)[:2] == ["schema", "verdict"]
    assert list(summary["models"]) == [*OWN, *BASELINES]
    for role in ("student", *BASELINES):
        measures = summary["models"][role]["measures"]
        assert measures.keys() == {"held-out", "SciFact"}
        assert measures["SciFact"].keys() == set(MEASURES)
        details = summary["models"][role]["details"]["SciFact"]
        assert details["recall_at_10"] == measures["SciFact"]["recall_at_10"]
        assert {"hit_rate_at_1", "map_at_1000", "recall_at_100"} <= details.keys()
        assert details["recall_at_20"] <= details["recall_at_50"] <= details["recall_at_100"]
    # The queries of SciFact are of one length here.
    assert [of["by"] for of in summary["breakdowns"]["SciFact"]] == [DOCUMENT_LENGTH]
    by_length, *others = summary["breakdowns"]["held-out"]
    assert [group["items"] for group in by_length["groups"]] == [3, 3, 3]
    assert [of["by"] for of in others] == [DOCUMENT_LENGTH]
    assert sum(group["items"] for group in others[0]["groups"]) == 9
    assert {"student", "bm25"} <= by_length["groups"][0]["scores"].keys()
    kept = summary["differences"]
    for name in ("student - bm25", "student - (teacher + bm25)", "base - (base + bm25)"):
        assert kept[name]["overall"]["items"] == 9 + len(TEXTS)
    both = kept["(student + bm25) - (teacher + bm25)"]["overall"]["difference"]
    scores = [summary["models"][f"{role} + bm25"]["score"] for role in ("student", "teacher")]
    assert both == pytest.approx(scores[0] - scores[1], abs=1e-5)
    assert summary["verdict"]["comparisons"].keys() == {"base", "teacher", *BASELINES}
    text = write_report(folder).read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith("**Ship ")
    assert "| (student + BM25) - (base model + BM25) |" in text
    assert "| model | hit@1 | MRR@10 |" in text
    assert "| length | queries | base model |" in text


def test_hybrids_by_reciprocal_ranks_are_named_so_and_measured_anew(evaluated, recipe, monkeypatch):
    """A run that an earlier version evaluated, whose rankings have no scores."""
    recipe.evaluate.baselines = True
    recipe.evaluate.speed_texts = 0

    def rank_as_before(dense, lexical, count):
        lists = [[document for document, _ in one] for one in (dense, lexical)]
        return [(document, 0.0) for document in fuse_reciprocal_ranks(lists, 60, count)]

    with monkeypatch.context() as earlier:
        earlier.setattr("distill.evaluate.score.FORMAT_VERSION", 4)
        earlier.setattr("distill.evaluate.baselines.searchers.HYBRID_SAMPLE", None)
        earlier.setattr("distill.evaluate.baselines.searchers.rank_hybrid", rank_as_before)
        folder = evaluated(recipe)
    before = json.loads((folder / "summary.json").read_text())["models"]
    for file in (folder / "evaluated" / "rankings").rglob("*.parquet"):
        pq.write_table(pq.read_table(file).drop_columns(["scores"]), file)
    told = write_report(folder).read_text(encoding="utf-8")
    assert "hybrids (reciprocal ranks, of an earlier version: distill run" in told

    def refuse(*args):
        raise AssertionError("embedded again")

    monkeypatch.setattr(LocalEmbedder, "embed", refuse)
    after = json.loads((evaluated(recipe) / "summary.json").read_text())["models"]
    assert after["student"]["tasks"] == before["student"]["tasks"]
    assert after["student + bm25"] != before["student + bm25"]
    assert "hybrids (weighted sums of scores)" in write_report(folder).read_text(encoding="utf-8")


def test_evaluation_without_baselines_leaves_their_rows_out_and_earlier_runs_go_on(
    evaluated, recipe
):
    recipe.evaluate.baselines = True
    folder = evaluated(recipe)
    settings = json.loads((folder / "evaluation/.stage/manifest.json").read_text())["settings"]
    assert not settings.keys() & {"baselines", "margin", "bm25"}
    recipe.evaluate.baselines = False
    summary = json.loads((evaluated(recipe) / "summary.json").read_text())
    assert list(summary["models"]) == OWN
    assert list(summary["differences"]) == ["student - base", "student - teacher"]


def test_bm25_settings_make_another_evaluation(evaluated, recipe):
    recipe.evaluate.baselines = True
    before = json.loads((evaluated(recipe) / "summary.json").read_text())
    recipe.retriever.bm25 = BM25(b=0.1, k1=0)
    folder = evaluated(recipe)
    settings = json.loads((folder / "evaluation/.stage/manifest.json").read_text())["settings"]
    assert settings["bm25"]["b"] == 0.1
    after = json.loads((folder / "summary.json").read_text())
    assert after["models"]["student"]["tasks"] == before["models"]["student"]["tasks"]


def test_speed_is_left_out_on_request(evaluated, recipe, monkeypatch):
    def refuse(*args):
        raise AssertionError("measured")

    monkeypatch.setattr(compare_module, "measure_speed", refuse)
    recipe.evaluate.speed_texts = 0
    summary = json.loads((evaluated(recipe) / "summary.json").read_text())
    assert summary["models"]["student"]["texts_per_second"] is None


def test_recipes_seed_does_not_change_an_interval(evaluated, recipe, tmp_path):
    first = json.loads((evaluated(recipe) / "summary.json").read_text())
    shutil.move(tmp_path / "small", tmp_path / "other")
    second = evaluated(recipe.model_copy(update={"seed": 5}))
    told = json.loads((second / "summary.json").read_text())
    assert told["differences"] == first["differences"]


def test_complete_evaluation_is_not_done_again(evaluated, recipe, monkeypatch):
    before = (evaluated(recipe) / "summary.json").read_bytes()

    def refuse(*args, **kwargs):
        raise AssertionError("compared again")

    monkeypatch.setattr("distill.evaluate.stage.compare", refuse)
    (evaluated(recipe) / "summary.json").unlink()
    assert (evaluated(recipe) / "summary.json").read_bytes() == before


def test_stopped_before_its_end_it_keeps_the_scores(evaluated, recipe, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*args, **kwargs):
        raise Stopped

    def refuse(*args, **kwargs):
        raise AssertionError("evaluated again")

    with monkeypatch.context() as patch:
        patch.setattr(compare_module, "measure_speed", stop)
        with pytest.raises(Stopped):
            evaluated(recipe)
    monkeypatch.setattr("distill.evaluate.score._evaluate_task", refuse)
    assert (evaluated(recipe) / "summary.json").exists()


def test_splits_make_another_evaluation(evaluated, recipe, task_data, monkeypatch):
    task = load_task("SciFact", task_data)
    monkeypatch.setattr("distill.evaluate.stage.open_recipe_tasks", lambda *asked: [task])
    folder = evaluated(recipe)
    task._eval_splits = ["train"]
    task.dataset["default"]["train"] = task.dataset["default"]["test"]
    evaluated(recipe)
    assert len([*(folder / "superseded").glob("evaluation-*")]) == 1


def test_no_text_is_encoded_again_for_other_settings(evaluated, recipe, monkeypatch):
    folder = evaluated(recipe)
    before = json.loads((folder / "summary.json").read_text())

    def refuse(*args):
        raise AssertionError("encoded again")

    monkeypatch.setattr(LocalEmbedder, "embed", refuse)
    monkeypatch.setattr(
        compare_module, "measure_speed", lambda models, *rest: dict.fromkeys(models, Speed(1, 1))
    )
    recipe.evaluate.widths = [8]
    after = json.loads((evaluated(recipe, "stale") / "summary.json").read_text())
    assert "student@8" in after["models"]
    for role, model in before["models"].items():
        assert after["models"][role]["tasks"] == model["tasks"]
    assert json.loads((folder / "evaluation" / "items.json").read_text())


def test_data_make_another_evaluation(evaluated, recipe, task_data):
    folder = evaluated(recipe)
    corpus = task_data / "SciFact" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("heart", "liver"), encoding="utf-8")
    evaluated(recipe)
    assert len([*(folder / "superseded").glob("evaluation-*")]) == 1


def test_evaluation_without_a_teacher(evaluated, recipe):
    recipe.teacher.model = None
    folder = evaluated(recipe)
    summary = json.loads((folder / "summary.json").read_text())
    assert "teacher" not in summary["models"]
    assert summary["kept"] is None
    assert "| student |" in write_report(folder).read_text()


@pytest.mark.bad_input("evaluation", "a recipe without tasks", "refused")
def test_recipe_without_tasks_is_refused(evaluated, recipe):
    recipe.evaluate.tasks = []
    with pytest.raises(UserError, match=r"evaluate\.tasks is empty"):
        evaluated(recipe)


def test_variants_and_published_results_stand_beside(evaluated, recipe, tmp_path):
    evaluated(recipe)
    (theirs,) = (tmp_path / "small" / "evaluated" / "results").glob("*-teacher")
    shutil.copytree(theirs, tmp_path / "published" / theirs.name)
    (name,) = (path.name for path in (tmp_path / "published").iterdir())
    recipe.evaluate.widths = [8]
    recipe.evaluate.precisions = ["int8"]
    recipe.evaluate.published = [str(tmp_path / "published")]
    recipe.evaluate.baselines = True
    summary = json.loads((evaluated(recipe) / "summary.json").read_text())
    roles = ["base", "student", "student@8", "student int8", "teacher"]
    *own, published = summary["models"]
    assert own == [*roles, *BASELINES]
    assert published.startswith(name.replace("__", "/"))
    assert summary["models"][published]["tasks"] == summary["models"]["teacher"]["tasks"]


def test_teacher_is_instructed(evaluated, recipe):
    plain = json.loads((evaluated(recipe) / "summary.json").read_text())
    recipe.teacher.query_template = "moon moon {task} chess: {query}"
    told = json.loads((evaluated(recipe, "stale") / "summary.json").read_text())
    of = [summary["models"] for summary in (plain, told)]
    assert of[0]["teacher"]["tasks"] != of[1]["teacher"]["tasks"]
    assert of[0]["student"]["tasks"] == of[1]["student"]["tasks"]


def test_student_with_other_prompts_than_in_training_is_refused(evaluated, recipe, tmp_path):
    evaluated(recipe)
    book = tmp_path / "small" / "student" / ".stage" / "manifest.json"
    manifest = json.loads(book.read_text())
    asked = {"query_template": "ask: {query}", "document_prompt": "", "default_task": ""}
    book.write_text(json.dumps(manifest | {"settings": {"student": asked}}))
    recipe.evaluate.speed_texts = 5
    with pytest.raises(UserError, match="was trained with 'ask: '"):
        evaluated(recipe, "stale")


def test_report_tells_verdict_stages_and_models(evaluated, recipe):
    folder = evaluated(recipe)
    (folder / "recipe.yaml").write_text("llm: {model: some/llm}\n", encoding="utf-8")
    text = write_report(folder).read_text(encoding="utf-8")
    summary = json.loads((folder / "summary.json").read_text())
    (kept,) = [line for line in text.splitlines() if line.startswith("- **kept**: ")]
    assert f"{summary['kept']:.1%} of the teacher's mean nDCG@10 (" in kept
    assert "), 95 % interval " in kept
    lines = text.splitlines()
    rows = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("| ")]
    assert rows[2:5] == ["base model", "student", "teacher"]
    assert rows.index("held-out") < rows.index("evaluation")
    assert "- student: loss end 0.5000" in text
    assert "| LLM | some/llm |" in text
    revision = summary["models"]["student"]["revision"]
    assert f"| student, as evaluated | distill/small-student ({revision}) |" in text
    assert "sentence-transformers" in text


def test_teachers_prompt_of_queries_is_none_of_documents(evaluated, recipe):
    def stage_under(**settings):
        teacher = recipe.teacher.model_copy(update=settings)
        folder = evaluated(recipe.model_copy(update={"teacher": teacher}), "stale")
        return json.loads((folder / "evaluation" / ".stage" / "manifest.json").read_text())

    plain = stage_under()["settings"]["teacher"]
    assert len(plain) == 3  # as in runs of before
    marks = {
        stage_under(**{key: "x: "})["fingerprint"] for key in ("query_prompt", "document_prompt")
    }
    assert len(marks) == 2
