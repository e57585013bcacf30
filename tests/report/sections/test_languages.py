"""The languages of a corpus."""

from distill.report.markdown.report import write_report
from distill.report.run_data import read_run_data
from distill.report.sections.languages import tabulate_languages
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import PASSAGES

ENGLISH = "Bees dance to tell the others where they have found flowers, and how far away these are."
GERMAN = "Der Gletscher ist ein langsamer Fluss aus Eis, der Täler in den Fels schneidet."


def write_passages(folder, texts):
    with Run(folder) as run:
        corpus = run.open_stage("passages", {})
        rows = [
            {"passage_id": f"p{n}", "title": "", "text": text, "source": "a"}
            for n, text in enumerate(texts)
        ]
        corpus.map_shards(PASSAGES, [rows], ShardResult)
        corpus.finish()
    return folder


def list_rows(folder):
    grid = tabulate_languages(read_run_data(folder))
    return grid and [[cell.text for cell in row] for row in grid.rows]


def test_languages_of_passages_are_counted(tmp_path):
    texts = [ENGLISH] * 60 + [GERMAN] * 39 + ["1 2 3 4"]
    folder = write_passages(tmp_path / "run", texts)
    assert list_rows(folder) == [
        ["en", "60", "60.0%"],
        ["de", "39", "39.0%"],
        ["others, or not certain", "1", "1.0%"],
    ]
    assert "| de | 39 | 39.0% |" in write_report(folder).read_text("utf-8")


def test_large_corpus_is_sampled_evenly(tmp_path):
    folder = write_passages(tmp_path / "run", [ENGLISH] * 1500 + [GERMAN] * 500)
    assert list_rows(folder) == [["en", "375", "75.0%"], ["de", "125", "25.0%"]]


def test_corpus_of_one_language_has_no_table(tmp_path):
    folder = write_passages(tmp_path / "run", [ENGLISH] * 99 + [GERMAN])
    assert list_rows(folder) is None
