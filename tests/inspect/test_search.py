"""`distill search`: what student and teacher find in a run's corpus, side by side."""

import shutil
from io import StringIO

import pytest
import yaml
from helpers.labelled import OF_TEXTS, label, prepare, query
from rich.console import Console
from sentence_transformers import SentenceTransformer

from distill.errors import UserError
from distill.inspect.search import render_results, search_run
from distill.store.run import Run

TEXTS = OF_TEXTS | {"e": "[bold]An owl[/bold] can turn its head \x1b[31m so far. " * 9}
QUERY = "bees dance to tell other bees"


@pytest.fixture(scope="module")
def run(tmp_path_factory, encoder_folder, teacher_folder):
    folder = tmp_path_factory.mktemp("runs") / "bees"
    with Run(folder) as opened:
        prepare(opened, [query("q")], [[label("a", 1.0, 1)]], TEXTS)
    shutil.copytree(encoder_folder, folder / "student")
    write_recipe(folder, teacher={"model": str(teacher_folder), "device": "cpu"})
    return folder


def write_recipe(folder, **sections):
    recipe = {"name": "bees", "train": {"device": "cpu"}, **sections}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def shown(answers, width=120) -> str:
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(render_results(answers))
    return out.getvalue()


def test_each_model_ranks_by_its_own_cosine(run, encoder_folder, teacher_folder):
    answers = search_run(run, QUERY, k=3)
    assert list(answers.hits) == ["student", "teacher"]
    for name, folder in (("student", encoder_folder), ("teacher", teacher_folder)):
        model = SentenceTransformer(str(folder), device="cpu")
        asked, passages = model.encode_query([QUERY]), model.encode_document([*TEXTS.values()])
        expected = sorted((asked @ passages.T)[0].tolist(), reverse=True)[:3]
        found = answers.hits[name]
        assert [hit.similarity for hit in found] == pytest.approx(expected, abs=1e-5)
        assert all(hit.passage["text"] == TEXTS[hit.passage["passage_id"]] for hit in found)


def test_an_instructed_teacher_gets_the_students_default_task(run, tmp_path, teacher_folder):
    shutil.copytree(run, tmp_path / "run")
    teacher = {"model": str(teacher_folder), "instruction_template": "Do {instruction}: {query}"}
    write_recipe(tmp_path / "run", teacher=teacher, student={"default_task": "find bees"})
    found = search_run(tmp_path / "run", QUERY, k=3).hits["teacher"]
    model = SentenceTransformer(str(teacher_folder), device="cpu")
    asked = model.encode([QUERY], prompt="Do find bees: ")
    expected = sorted((asked @ model.encode_document([*TEXTS.values()]).T)[0].tolist())[::-1]
    assert [hit.similarity for hit in found] == pytest.approx(expected[:3], abs=1e-5)


def test_the_passages_that_both_found_are_marked(run):
    answers = search_run(run, QUERY, k=6)
    assert len(answers.shared) == 6
    text = shown(answers)
    assert text.count("* ") >= 12
    assert "found by both: 6 of 6" in text


def test_a_passage_is_shown_as_it_is_and_never_as_markup(run):
    text = shown(search_run(run, QUERY, k=6))
    assert "[bold]An owl[/bold]" in text
    assert "\x1b" not in text
    assert "…" in text


def test_more_than_there_are_gives_all_there_are(run):
    assert len(search_run(run, QUERY, k=50).hits["teacher"]) == 6


def test_the_corpus_is_embedded_once(run):
    search_run(run, QUERY)
    before = {path: path.stat().st_mtime_ns for path in (run / "vectors").rglob("*")}
    search_run(run, "another query")
    assert {path: path.stat().st_mtime_ns for path in (run / "vectors").rglob("*")} == before


def test_without_a_teacher_the_student_answers_alone(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    write_recipe(tmp_path / "run")
    answers = search_run(tmp_path / "run", QUERY)
    assert list(answers.hits) == ["student"]
    assert "names no teacher" in shown(answers)


@pytest.mark.bad_input(
    "command line", "search of a run without student, corpus or query", "refused"
)
def test_what_is_missing_is_named_with_the_remedy(run, tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        search_run(tmp_path, QUERY)
    write_recipe(tmp_path)
    with pytest.raises(UserError, match="has no corpus"):
        search_run(tmp_path, QUERY)
    shutil.copytree(run / "passages", tmp_path / "passages")
    with pytest.raises(UserError, match=r"has no student yet(.|\n)*distill train-student --run"):
        search_run(tmp_path, QUERY)
    with pytest.raises(UserError, match="is empty"):
        search_run(run, "  ")
