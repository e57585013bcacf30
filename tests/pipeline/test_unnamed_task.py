"""Runs of recipes that name no evaluation task: documents are held out by the run itself."""

import json
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.query_side_recipe import load_query_route
from helpers.tiny_models import TEXTS
from pipeline.test_known_item import WORDS, write_corpus

import distill
from distill.api.session import settle
from distill.cli import cli
from distill.estimate.estimate import estimate
from distill.pipeline.ablation import ablate
from distill.pipeline.recipe_copy import save_recipe
from distill.recipe import Recipe, dump_recipe, load_recipe, override
from distill.report.known_item import describe_known_items
from distill.start.choice.settle import settle_test
from distill.start.survey import SurveyCounts
from distill.store.run import Run
from distill.store.tables import PASSAGES, read_rows

pytest.importorskip("mteb")
DOCUMENTS = 260
"""Of which eight in ten have a title of their own."""


@pytest.fixture(scope="module")
def recipe(recipe_file, encoder_folder, tmp_path_factory) -> Recipe:
    """As a newcomer writes it: a corpus and models, and nothing on evaluation."""
    corpus = write_corpus(tmp_path_factory.mktemp("corpus") / "docs.jsonl", DOCUMENTS)
    sets = [
        f"corpus={{source: jsonl, path: {corpus}, min_words: 3}}",
        "evaluate={speed_texts: 8}",
        "generate.filters.decontaminate=null",
    ]
    return load_query_route(recipe_file, encoder_folder, *sets)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    distill.run(recipe, folder)
    return folder


@pytest.fixture
def few(recipe, tmp_path) -> Recipe:
    return change(recipe, **{"corpus.path": str(write_corpus(tmp_path / "few.jsonl", 40))})


def change(recipe: Recipe, **settings) -> Recipe:
    changed = override(recipe, settings)
    assert changed.corpus.held_out is None or "corpus.held_out" in settings
    return changed


def state(folder: Path) -> dict[str, int]:
    files = [*folder.glob("*/*.parquet"), *folder.glob("student/*.safetensors")]
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in files}


def test_unnamed_task_ends_with_a_verdict(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert list(summary["models"]["student"]["tasks"]) == ["known-item"]
    assert summary["verdict"]["advice"]
    held_out = {row["passage_id"] for row in read_rows(PASSAGES, finished / "passages-held-out")}
    learnt = {row["passage_id"] for row in read_rows(PASSAGES, finished / "passages")}
    assert len(held_out) + len(learnt) == DOCUMENTS
    assert 0.15 < len(held_out) / DOCUMENTS < 0.45


def test_choice_stands_in_the_runs_own_recipe(finished, recipe):
    kept = load_recipe(finished / "recipe.yaml")
    assert kept.evaluate.tasks == ["known-item"]
    assert kept.corpus.held_out == settle(recipe, finished)[0].corpus.held_out


@pytest.mark.parametrize("command", [distill.generate, distill.train_student, distill.run])
def test_commands_agree_and_redo_nothing(finished, recipe, command, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    before = state(folder)
    command(recipe, folder)
    assert state(folder) == before


def test_task_that_is_named_later_redoes_nothing(finished, recipe, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run", symlinks=True)
    before = state(folder)
    named = change(recipe, **{"evaluate.tasks": [str(write_questions(tmp_path, finished))]})
    done = distill.run(named, folder)
    assert list(done.summary["models"]["student"]["tasks"]) == ["questions"]
    assert state(folder) == before


def write_questions(folder: Path, run: Path) -> Path:
    rows = list(read_rows(PASSAGES, run / "passages"))[:5]
    lines = [f"where is number {n},{row['passage_id']}" for n, row in enumerate(rows)]
    file = folder / "questions.csv"
    file.write_text("question,doc_id\n" + "\n".join(lines) + "\n")
    return file


def test_run_made_without_held_out_documents_keeps_its_passages(recipe, tmp_path):
    with Run(tmp_path / "run") as run:  # as versions before made them
        from helpers.passages import make_passages

        make_passages(run, recipe.corpus, recipe.seed)
    before = state(tmp_path / "run")
    done = distill.run(recipe, tmp_path / "run")
    assert done.student.is_dir()
    assert not (tmp_path / "run" / "summary.json").exists()
    assert {name: time for name, time in state(done.folder).items() if name in before} == before
    assert done.recipe.corpus.held_out == 0


def test_documents_are_not_held_out_where_the_recipe_says_so(recipe, tmp_path):
    settled = settle_test(change(recipe, **{"corpus.held_out": 0}), tmp_path / "run")
    assert settled.said is None
    assert not settled.recipe.evaluate.names_tasks


@pytest.mark.parametrize(("share", "tasks"), [(0.3, ["known-item"]), (0.02, [])])
def test_task_is_chosen_for_a_share_that_is_named_if_it_is_enough(recipe, tmp_path, share, tasks):
    settled = settle_test(change(recipe, **{"corpus.held_out": share}), tmp_path / "run")
    assert settled.recipe.evaluate.tasks == tasks
    assert settled.recipe.corpus.held_out == share
    told = f"{share:.0%} of the documents are held out" if tasks else "2% are too few"
    assert told in settled.said


@pytest.mark.parametrize("tasks", [["known-item"], []])
def test_run_that_has_begun_keeps_what_its_own_recipe_says(recipe, tmp_path, tasks):
    """Without a task there, versions before had begun it."""
    shared = change(recipe, **{"corpus.held_out": 0.3})
    with Run(tmp_path / "run") as run:
        save_recipe(run.folder, change(shared, **{"corpus.held_out": 0.3, "evaluate.tasks": tasks}))
        run.open_stage("passages", {}).finish()
    settled = settle_test(shared, tmp_path / "run")
    assert settled.recipe.evaluate.tasks == tasks
    assert settled.said is None


def test_task_that_is_named_holds_nothing_out(recipe, tmp_path):
    settled = settle_test(change(recipe, **{"evaluate.tasks": ["SciFact"]}), tmp_path / "run")
    assert (settled.recipe.corpus.held_out, settled.said) == (0, None)


def test_documents_that_are_too_few_are_not_held_out_and_that_is_said(few, tmp_path):
    file = few.folder / "few.yaml"
    file.write_text(dump_recipe(few))
    said = CliRunner().invoke(cli, ["check", str(file), "--run", str(tmp_path / "run")]).output
    assert "too few to hold some out" in said
    assert "no evaluation task" not in said  # the note before says it, and why
    done = CliRunner().invoke(cli, ["run", str(file), "--run", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "trained and not measured" in done.output
    assert not (tmp_path / "run" / "summary.json").exists()


def test_check_and_print_resolved_say_what_is_chosen(recipe, tmp_path):
    file = recipe.folder / "unnamed.yaml"
    file.write_text(dump_recipe(recipe))
    said = CliRunner().invoke(cli, ["check", str(file), "--run", str(tmp_path / "run")]).output
    assert "test: known-item: the recipe names no evaluation task, so" in said
    printed = CliRunner().invoke(cli, ["run", "--print-resolved", str(file)]).stdout
    assert "- known-item" in printed
    assert not (tmp_path / "run").exists()


def test_estimate_counts_the_same_passages_as_the_run(recipe, finished, tmp_path):
    settled, _ = settle(recipe, tmp_path / "run")
    with Run(tmp_path / "run") as run:
        estimate(run, settled, lambda: None, sample=0)
    for name in ("passages", "passages-held-out"):
        one, other = (list(read_rows(PASSAGES, at / name)) for at in (tmp_path / "run", finished))
        assert one == other


def test_arms_are_compared_on_what_is_held_out(recipe, tmp_path):
    arms = {"ablation": {"arms": {"one": {}, "other": {"train.epochs": 1}}, "seeds": [0]}}
    settled, place = settle(override(recipe, arms), tmp_path / "run", judges=False)
    assert [arm.name for arm in ablate(place, settled)][:2] == ["one", "other"]


def test_llm_that_the_recipe_has_anyway_judges(recipe_file, tmp_path):
    corpus = write_corpus(tmp_path / "docs.jsonl", DOCUMENTS)
    sets = [f"corpus.path={corpus}", "evaluate.tasks=[]", "generate.filters.decontaminate=null"]
    large = load_recipe(recipe_file, [*sets, "llm.model=Qwen/Qwen2.5-7B-Instruct"])
    settled = settle_test(large, tmp_path / "run").recipe
    assert settled.evaluate.tasks == ["judged"]
    assert settled.corpus.held_out == 0.1
    assert settled.evaluate.judged.queries == 30
    alone = settle_test(large, tmp_path / "run", judges=False).recipe
    assert alone.evaluate.tasks == ["known-item"]
    small = load_recipe(recipe_file, [*sets, "llm.model=HuggingFaceTB/SmolLM2-135M-Instruct"])
    assert settle_test(small, tmp_path / "run").recipe.evaluate.tasks == ["known-item"]


def test_objects_with_docstrings_answer_themselves(recipe, tmp_path):
    settings = {"corpus.source": "docstrings", "corpus.packages": ["numpy"]}
    settled = settle_test(change(recipe, **settings), tmp_path / "run")
    assert settled.recipe.evaluate.tasks == ["held-out"]


def test_corpus_on_a_hub_is_not_fetched_to_be_checked(recipe, tmp_path):
    named = change(recipe, **{"corpus.path": None, "corpus.dataset": "owner/name"})
    settled = settle_test(named, tmp_path / "run", fetches=False)
    assert "chosen when the run begins" in settled.said
    assert settled.recipe.corpus.held_out is None


def test_passages_that_are_drawn_are_of_fewer_documents(recipe, tmp_path, monkeypatch):
    many = SurveyCounts(whole_documents=1000, searchable=1000, passages=10_000)
    monkeypatch.setattr("distill.start.choice.settle.count_corpus", lambda *_: many)
    shares = [
        settle_test(change(recipe, **{"corpus.limit": limit}), tmp_path / "run").recipe.corpus
        for limit in (None, 400, 100)
    ]
    assert [share.held_out for share in shares] == [0.1, 0.18, 0]


def write_books(file: Path) -> Path:
    """Eight long documents without a heading, of sentences that stand once."""
    draw = random.Random(5)
    with file.open("w", encoding="utf-8") as out:
        for book in range(8):
            parts = [
                f"The {' '.join(draw.sample(WORDS, 4))} of book {book} has number {part} and lies "
                f"near {' '.join(draw.sample(WORDS, 3))}. {' '.join(draw.sample(TEXTS, 3))}"
                for part in range(280)
            ]
            out.write(json.dumps({"_id": f"b{book}", "title": "", "text": " ".join(parts)}) + "\n")
    return file


@pytest.mark.slow
def test_sections_of_few_large_documents_are_held_out(recipe, tmp_path):
    books = write_books(tmp_path / "books.jsonl")
    named = change(recipe, **{"corpus.path": str(books), "corpus.max_tokens": 64})
    settled = settle_test(named, tmp_path / "run")
    assert settled.recipe.corpus.hold_out_by == "section"
    assert "of the sections are held out" in settled.said
    done = distill.run(named, tmp_path / "run")
    assert list(done.summary["models"]["student"]["tasks"]) == ["known-item"]
    words = describe_known_items(done.folder)
    assert "held-out sections of documents" in words
    assert "other sections of the same documents were trained on" in words
    assert settle_test(named, tmp_path / "run").recipe.corpus == settled.recipe.corpus
