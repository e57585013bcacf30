"""`distill init`: a first recipe for a corpus, from what the texts, the machine and the models
are."""

import csv
import gzip
import json
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from helpers.first_recipes import LAPTOP, choose_settings_for
from helpers.tiny_models import TEXTS

from distill.cli import cli
from distill.corpus.readers.rows import Columns
from distill.errors import UserError
from distill.recipe import load_recipe
from distill.start import survey
from distill.start.available import ServedName
from distill.start.describe import describe_proposal
from distill.start.guess import RunGuess, describe_guess, guess_run
from distill.start.init import name_run, propose_recipe
from distill.start.survey import guess_columns, survey_corpus

pytestmark = pytest.mark.usefixtures("alone")


def write_csv(file, header, rows):
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])
    return file


def test_folder_of_markdown(notes, surveyed):
    assert surveyed.documents == surveyed.passages == len(TEXTS)
    assert surveyed.language == "en"
    assert surveyed.form == "a folder of 12 .md files"
    assert surveyed.is_whole


def test_files_that_are_read_are_counted_packed_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "_SAMPLE", 5)
    for number in range(20):
        text = f"The {number}th note says that bees dance. " * 30
        (tmp_path / f"README.{number:02}.Debian.gz").write_bytes(gzip.compress(text.encode()))
        (tmp_path / f"{number}.png").write_bytes(bytes(5000))
    surveyed = survey_corpus(tmp_path, 1000)
    assert surveyed.form == "a folder of 20 .debian files"
    assert surveyed.documents == pytest.approx(20, abs=1)
    assert not surveyed.is_whole
    assert surveyed.may_be_unreadable


def test_files_with_several_sections_are_told_apart_from_their_sections(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text(
            f"# {name}\nBees of {name}.\n## Food\nNectar of {name}.\n"
        )
    proposal = propose_recipe(tmp_path)
    said = "2 files, 4 sections, 4 passages, "
    assert said in next(describe_proposal(proposal))
    assert proposal.text.startswith(f"# A first recipe for {said.strip()}")


def test_files_that_cannot_be_read_are_left_out_by_the_recipe(notes):
    """And a recipe of files that all can be read refuses what comes later."""
    assert "unreadable" not in propose_recipe(notes).text
    (notes / "old.txt").write_bytes("Über die Bienen".encode("latin-1"))
    assert "unreadable: skip" in propose_recipe(notes).text


def test_files_that_give_no_text_are_counted_and_named(notes):
    (notes / "empty.md").write_text("")
    (notes / "deep" / "noise.txt").write_bytes(bytes(range(256)))
    (notes / "old.txt").write_bytes("Über die Bienen".encode("latin-1"))
    done = CliRunner().invoke(cli, ["init", str(notes)], catch_exceptions=False)
    (line,) = [line for line in done.output.splitlines() if line.startswith("without:")]
    assert "2 files, cannot be read as text: deep/noise.txt row 1, old.txt row 1" in line
    assert "1 file, no text: empty.md" in line
    assert "12 documents" in done.output


def test_files_that_all_give_text_are_not_left_out(notes):
    assert "without" not in CliRunner().invoke(cli, ["init", str(notes)]).output


def test_recipe_is_short_commented_and_can_be_loaded(notes, tmp_path):
    done = CliRunner().invoke(cli, ["init", str(notes)], catch_exceptions=False)
    assert done.exit_code == 0
    file = tmp_path / "my-notes.yaml"
    recipe = load_recipe(file)
    assert (recipe.name, recipe.corpus.source) == ("my-notes", "auto")
    assert recipe.corpus.path == str(notes.resolve())
    lines = file.read_text().splitlines()
    keys = [line for line in lines if ": " in line and not line.strip().startswith("#")]
    assert len(keys) < 25
    for number, line in enumerate(lines):
        if line in keys:
            assert "#" in line or lines[number - 1].strip().startswith("#"), line
    for word in ("12 documents", "language: en", "cores", "takes:", "too few documents to hold"):
        assert word in done.output
    for word in ("distill check my-notes.yaml", "distill run my-notes.yaml"):
        assert word in done.output
    assert any(line.startswith("# It takes: roughly") for line in lines)


@pytest.mark.bad_input("init", "a recipe's file that exists", "never overwritten unless asked")
def test_file_that_exists_is_not_overwritten(notes, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        CliRunner().invoke(cli, ["init", str(notes), "--out", str(file)], catch_exceptions=False)
    assert file.read_text() == "mine"
    arguments = ["init", str(notes), "--out", str(file), "--overwrite", "--name", "other"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert load_recipe(file).name == "other"


def test_table_with_unusual_columns_is_read_by_what_they_hold(tmp_path):
    rows = [[f"d{n}", f"Note {n}", text, "x"] for n, text in enumerate(TEXTS)]
    file = write_csv(tmp_path / "odd.csv", ["docno", "kopfzeile", "inhalt", "flag"], rows)
    assert guess_columns(file) == Columns("docno", "kopfzeile", "inhalt")
    proposal = propose_recipe(file)
    assert proposal.corpus.documents == len(TEXTS)
    assert yaml.safe_load(proposal.text)["corpus"]["text_column"] == "inhalt"


def test_columns_are_those_of_the_first_rows_not_of_the_first_alone(tmp_path):
    file = tmp_path / "docs.jsonl"
    rows = [{"id": str(n), "title": f"Note {n}", "text": text} for n, text in enumerate(TEXTS)]
    file.write_text("\n".join(map(json.dumps, [{"id": "x", "title": "About notes"}, *rows])))
    proposal = propose_recipe(file)
    assert "text_column" not in yaml.safe_load(proposal.text)["corpus"]
    assert proposal.corpus.tokens > sum(len(text) for text in TEXTS) / 8


def test_first_row_may_be_empty(tmp_path):
    file = tmp_path / "docs.jsonl"
    rows = [{}, *({"inhalt": text} for text in TEXTS)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert survey_corpus(file, 256).documents == len(TEXTS)
    file.write_text("{}\n{}\n")
    assert guess_columns(file) is None


@pytest.mark.bad_input("init", "a table without texts", "refused, its columns listed")
def test_table_without_texts_lists_its_columns(tmp_path):
    file = write_csv(tmp_path / "numbers.csv", ["height", "width"], [[1, 2], [3, 4]])
    with pytest.raises(UserError, match=r"height.*width"):
        propose_recipe(file)


def test_json_lines(tmp_path):
    file = tmp_path / "docs.jsonl"
    rows = [{"_id": str(n), "text": text} for n, text in enumerate(TEXTS)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert propose_recipe(file).corpus.documents == len(TEXTS)


@pytest.mark.bad_input("init", "an empty folder", "refused")
def test_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file"):
        propose_recipe(tmp_path / "empty")


@pytest.mark.bad_input("init", "a path that is not there", "refused, the whole path named")
def test_path_that_is_not_there_is_named_whole(tmp_path):
    from pathlib import Path

    with pytest.raises(UserError, match="no such file or folder in /"):
        propose_recipe(Path("nowhere"))


@pytest.mark.parametrize(
    ("seconds", "minutes"), [((20, 50), "roughly 1 min"), ((100, 500), "roughly 2 to 9 min")]
)
def test_guess_of_time_is_a_number_of_minutes_or_a_range(seconds, minutes):
    assert describe_guess(RunGuess(0, 0, 0, 0, seconds)) == f"{minutes} on this machine"


def test_documents_are_held_out_for_an_llm_to_judge(large):
    served = ServedName("Qwen2.5-7B-Instruct", "http://localhost:8000/v1", "vLLM")
    available = replace(LAPTOP, served=[served])
    chosen = choose_settings_for(large, available)
    assert chosen["corpus.held_out"] == 0.1
    assert chosen["evaluate.tasks"] == ["judged"]
    unjudged = {key: value for key, value in chosen.items() if key != "evaluate.tasks"}
    with_judging, without = (guess_run(of, large, available) for of in (chosen, unjudged))
    assert with_judging.queries == without.queries + 90
    assert with_judging.pairs > without.pairs
    assert f"{with_judging.pairs:,} judged pairs" in describe_guess(with_judging)


def test_documents_are_searched_for_by_their_titles_without_an_llm(large):
    chosen = choose_settings_for(replace(large, searchable=300), LAPTOP)
    assert chosen["corpus.held_out"] == 0.2
    assert chosen["evaluate.tasks"] == ["known-item"]
    assert choose_settings_for(replace(large, searchable=5000), LAPTOP)["corpus.held_out"] == 0.1
    assert "evaluate.tasks" not in choose_settings_for(replace(large, searchable=100), LAPTOP)


def test_documents_that_say_too_little_are_not_searched_for(tmp_path, surveyed):
    file = tmp_path / "docs.jsonl"
    texts = [" ".join(TEXTS[n : n + 3]) for n in range(6)] + ["Nothing much."] * 2
    file.write_text("\n".join(json.dumps({"_id": str(n), "text": t}) for n, t in enumerate(texts)))
    assert survey_corpus(file, 256).searchable == 6
    assert surveyed.searchable == 0


def test_documents_that_are_few_are_not_held_out(surveyed):
    served = ServedName("Qwen2.5-7B-Instruct", "http://localhost:8000/v1", "vLLM")
    chosen = choose_settings_for(surveyed, replace(LAPTOP, served=[served]))
    assert "corpus.held_out" not in chosen
    assert "evaluate.tasks" not in chosen


def test_sections_of_a_file_are_one_whole_document(tmp_path):
    (tmp_path / "long").mkdir()
    sections = "".join(f"## Part {n}\n\n{text}\n\n" for n, text in enumerate(TEXTS))
    (tmp_path / "long" / "all.md").write_text(f"# All\n\n{sections}")
    corpus = survey_corpus(tmp_path / "long", 256)
    assert corpus.documents > corpus.whole_documents == 1


def test_larger_corpus_takes_longer(surveyed):
    chosen = choose_settings_for(surveyed, LAPTOP)
    low, high = guess_run(chosen, surveyed, LAPTOP).seconds
    more = guess_run({**chosen, "generate.free": {"queries": 10**6}}, surveyed, LAPTOP)
    assert low < high < more.seconds[0]


def test_names_of_runs():
    from pathlib import Path

    assert name_run(Path("/tmp/x/My Docs")) == "my-docs"
    assert name_run(Path("/")) == "corpus"


@pytest.fixture
def tiny_settings(recipe_file):
    """The tiny models as settings of the command line, in the place of those that init chooses."""
    tiny = yaml.safe_load(recipe_file.read_text())
    settings = {
        "llm": tiny["llm"] | {"prompt_format": "auto"},
        "generate": tiny["generate"] | {"prompt": str(recipe_file.parent / "short.jinja")},
        "retriever": tiny["retriever"],
        "relabel": tiny["relabel"],
        "teacher": tiny["teacher"],
        "student": tiny["student"],
        "train": tiny["train"],
    }
    return [f"--set={name}={json.dumps(values)}" for name, values in settings.items()]


def test_wildcards_name_several_tables(tmp_path):
    folder = tmp_path / "My Tables"
    folder.mkdir()
    for number, text in enumerate(TEXTS[:4]):
        write_csv(folder / f"{number}.csv", ["id", "text"], [[number, text]])
    done = CliRunner().invoke(cli, ["init", f"{folder}/*.csv"], catch_exceptions=False)
    assert done.exit_code == 0
    recipe = load_recipe(tmp_path / "my-tables.yaml")
    assert recipe.corpus.path == str(folder / "*.csv")
    with pytest.raises(UserError, match="no such file or folder"):
        propose_recipe(folder / "*.tsv")


@pytest.mark.slow
def test_run_with_a_corpus_alone_ends_with_a_student_and_keeps_the_recipe(
    notes, tmp_path, tiny_settings
):
    command = ["run", "--corpus", str(notes), *tiny_settings]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    run = tmp_path / "artifacts" / "my-notes"
    assert done.exit_code == 0
    assert (run / "student" / "config.json").is_file()
    kept = (run / "init.yaml").read_bytes()
    before = (run / "student" / "model.safetensors").stat().st_mtime_ns
    CliRunner().invoke(cli, command, catch_exceptions=False)
    assert (run / "init.yaml").read_bytes() == kept
    assert (run / "student" / "model.safetensors").stat().st_mtime_ns == before


def test_corpus_in_the_place_of_the_recipes(notes, recipe_file):
    command = ["run", str(recipe_file), "--corpus", str(notes), "--print-resolved"]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    corpus = yaml.safe_load(done.output)["corpus"]
    assert (corpus["source"], corpus["path"]) == ("auto", str(notes))


@pytest.mark.bad_input("run --corpus", "another corpus in a run's folder", "refused")
def test_run_of_another_corpus_is_refused(notes, tmp_path):
    command = ["run", "--run", str(tmp_path / "run"), "--print-resolved", "--corpus"]
    CliRunner().invoke(cli, [*command, str(notes)], catch_exceptions=False)
    with pytest.raises(UserError, match="the run of another corpus"):
        CliRunner().invoke(cli, [*command, str(notes / "deep")], catch_exceptions=False)


@pytest.mark.bad_input("run --corpus", "the corpus as the run's folder", "refused, nothing written")
def test_run_is_not_written_into_its_corpus(notes):
    before = sorted(notes.rglob("*"))
    with pytest.raises(UserError, match="is the corpus"):
        CliRunner().invoke(
            cli, ["run", "--corpus", str(notes), "--run", str(notes)], catch_exceptions=False
        )
    assert sorted(notes.rglob("*")) == before
