"""`distill search`: what student and teacher find in a run's corpus, side by side."""

import json
import re
import shutil
from io import StringIO

import pytest
import yaml
from click.testing import CliRunner
from helpers.label_rows import OF_TEXTS, make_label, make_query, prepare_labels
from rich.console import Console
from sentence_transformers import SentenceTransformer

from distill.cli import cli
from distill.errors import UserError
from distill.evaluate.baselines.systems import rank_systems
from distill.evaluate.models.run_models import RunModelSettings, load_run_models
from distill.inspect.search import render_results, search_run
from distill.recipe import BM25, load_recipe
from distill.runtime import progress
from distill.store.run import Run
from distill.tasks import load_task

TEXTS = OF_TEXTS | {"e": "[bold]An owl[/bold] can turn its head \x1b[31m so far. " * 9}
QUERY = "bees dance to tell other bees"


@pytest.fixture(scope="module")
def run(tmp_path_factory, encoder_folder, teacher_folder):
    folder = tmp_path_factory.mktemp("runs") / "bees"
    with Run(folder) as opened:
        prepare_labels(opened, [make_query("q")], [[make_label("a", 1.0, 1)]], TEXTS)
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


def test_loading_the_models_is_said_where_it_takes_long(run, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_TO_FIRST_LINE", 0.0)
    search_run(run, QUERY, k=1)
    assert "loading the models" in capsys.readouterr().err


def test_instructed_teacher_gets_the_students_default_task(run, tmp_path, teacher_folder):
    shutil.copytree(run, tmp_path / "run")
    teacher = {"model": str(teacher_folder), "instruction_template": "Do {instruction}: {query}"}
    write_recipe(tmp_path / "run", teacher=teacher, student={"default_task": "find bees"})
    found = search_run(tmp_path / "run", QUERY, k=3).hits["teacher"]
    model = SentenceTransformer(str(teacher_folder), device="cpu")
    asked = model.encode([QUERY], prompt="Do find bees: ")
    expected = sorted((asked @ model.encode_document([*TEXTS.values()]).T)[0].tolist())[::-1]
    assert [hit.similarity for hit in found] == pytest.approx(expected[:3], abs=1e-5)


def test_passages_that_both_found_are_marked(run):
    answers = search_run(run, QUERY, k=6)
    assert len(answers.shared) == 6
    text = shown(answers)
    assert text.count("* ") >= 12
    assert "found by both: 6 of 6" in text


def test_passage_is_shown_as_it_is_and_never_as_markup(run):
    text = shown(search_run(run, QUERY, k=6))
    assert "[bold]An owl[/bold]" in text
    assert "\x1b" not in text
    assert "…" in text


def test_search_for_more_than_there_are_gives_all(run):
    assert len(search_run(run, QUERY, k=50).hits["teacher"]) == 6


def test_hybrid_ranks_as_evaluation_does(run, tmp_path):
    """The same documents, as a task: `student + bm25` there and in search is one ranking."""
    pytest.importorskip("mteb")
    queries = [QUERY, "slow river of ice", "owl head far", "moon, sugar and bread"]
    write_beir(tmp_path / "tasks" / "mine", TEXTS, queries)
    task = load_task("mine", tmp_path / "tasks")
    settings = RunModelSettings.select(load_recipe(run / "recipe.yaml"))
    models = load_run_models(settings, {"student": run / "student"})
    ranked = rank_systems(models, task, tmp_path / "out", BM25(), depth=6)
    for number, text in enumerate(queries):
        found = search_run(run, text, k=6, hybrid=True)
        assert list(found.hits) == ["student + bm25", "teacher + bm25"]
        for system, hits in found.hits.items():
            expected = ranked[system][f"q{number}"]
            assert [hit.passage["passage_id"] for hit in hits] == expected, (system, text)
            scores = [hit.similarity for hit in hits]
            assert scores == sorted(scores, reverse=True)


def write_beir(folder, texts, queries):
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": id_, "title": "", "text": text} for id_, text in texts.items()]
    asked = [{"_id": f"q{number}", "text": text} for number, text in enumerate(queries)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    judged = "".join(f"{row['_id']}\tseed\t1\n" for row in asked)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")


def test_query_of_unknown_words_is_searched_by_meaning_alone(run):
    plain, hybrid = (search_run(run, "zebra", 6, hybrid=hybrid).hits for hybrid in (False, True))
    for role, hits in plain.items():
        assert [hit.row for hit in hybrid[f"{role} + bm25"]] == [hit.row for hit in hits]


def test_hybrids_scores_are_shown_with_their_digits(run):
    text = shown(search_run(run, QUERY, k=3, hybrid=True))
    assert "student + bm25" in text
    assert re.search(r"1\.\d{4}  seed", text), "more than a deviation above the mean of both"


def test_corpus_is_embedded_once(run):
    search_run(run, QUERY)
    before = {path: path.stat().st_mtime_ns for path in (run / "vectors").rglob("*")}
    search_run(run, "another query")
    assert {path: path.stat().st_mtime_ns for path in (run / "vectors").rglob("*")} == before


def test_student_answers_alone_without_a_teacher(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    write_recipe(tmp_path / "run")
    answers = search_run(tmp_path / "run", QUERY)
    assert list(answers.hits) == ["student"]
    assert "names no teacher" in shown(answers)


def search_lines(run, lines: bytes, *options: str):
    """Run `distill search` with these bytes as its standard input."""
    return CliRunner().invoke(cli, ["search", str(run), *options], input=lines)


def test_lines_of_the_input_are_queries(run):
    done = search_lines(run, f"{QUERY}\n\n  zebra  \n".encode(), "--k", "2", "--json")
    assert done.exit_code == 0, done.output
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert printed == [search_run(run, text, k=2).to_json() for text in (QUERY, "zebra")]
    assert list(printed[0]["hits"]) == ["student", "teacher"]
    assert printed[0]["hits"]["student"][0]["text"] in TEXTS.values()


def test_input_without_a_query_ends_with_nothing(run):
    done = search_lines(run, b"\n")
    assert (done.exit_code, done.stdout) == (0, "")


@pytest.mark.bad_input("command line", "a query in a file that is not UTF-8", "refused")
def test_line_that_is_not_utf8(run):
    done = search_lines(run, b"\xff\xfe\n")
    assert isinstance(done.exception, UserError)
    assert "write it as UTF-8" in str(done.exception)


@pytest.mark.bad_input(
    "command line", "search of a run without student, corpus or query", "refused"
)
def test_search_of_a_run_without_student_or_corpus_names_the_remedy(run, tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        search_run(tmp_path, QUERY)
    write_recipe(tmp_path)
    with pytest.raises(UserError, match="has no corpus"):
        search_run(tmp_path, QUERY)
    shutil.copytree(run / "passages", tmp_path / "passages")
    with pytest.raises(UserError, match=r"has passages alone(.|\n)*distill init PATH"):
        search_run(tmp_path, QUERY)
    shutil.copytree(run / "queries", tmp_path / "queries")
    with pytest.raises(UserError, match=r"has no student yet(.|\n)*distill train-student --run"):
        search_run(tmp_path, QUERY)
    with pytest.raises(UserError, match="is empty"):
        search_run(run, "  ")
