"""What the generated queries are like, measured on tables made by hand."""

import pytest
from helpers.report_runs import HOSTILE

from distill.report.html import write_html
from distill.report.run_data import read_run_data
from distill.report.sections.query_sample import make_query_sample
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import PASSAGES, QUERIES

QUERY_TEXTS = [
    "why do bees dance",
    "bees dance to tell",
    "Why do bees dance?",
    "flowers",
    "where the flowers are and how far",
]


def write_tables(folder, texts, passages=10, log=()):
    with Run(folder) as run:
        corpus = run.open_stage("passages", {})
        rows = [
            {
                "passage_id": f"p{n}",
                "title": f"Bees {n}",
                "text": "Bees dance to tell other bees where the flowers are.",
                "source": "bees.txt",
            }
            for n in range(passages)
        ]
        corpus.map_shards(PASSAGES, [rows], ShardResult)
        corpus.finish()
        queries = run.open_stage("queries", {}, [corpus])
        rows = [
            {
                "query_id": f"q{n}",
                "seed_id": "" if text in log else f"p{n % passages}",
                "task": "Find the answer.",
                "task_type": "question_answering" if n % 2 else "fact_checking",
                "query": text,
                "persona": None,
                "llm": "owner/llm",
            }
            for n, text in enumerate(texts)
        ]
        queries.map_shards(QUERIES, [rows], ShardResult)
        queries.finish()
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_tables(tmp_path / "bees", QUERY_TEXTS)


def test_shares_of_copies_repetitions_and_passages_used(folder):
    told = dict(make_query_sample(read_run_data(folder)).shares)
    assert told["queries"] == "5"
    assert told["passages that queries were written for"] == "5 of 10 (50.0%)"
    assert told["exact or near duplicates (similarity 0.8)"] == "1 of 5 (20.0%)"
    # The whole of two, and four words in a row of the seven of a third.
    assert told["more than half copied from the passage"] == "3 of 5 (60.0%)"


def test_forms_and_tasks_are_counted(folder):
    sample = make_query_sample(read_run_data(folder))
    forms = {row[0].text: row[1].text for row in sample.forms.rows}
    assert forms == {"question": "3", "phrase or statement": "1", "keywords (up to 3 words)": "1"}
    tasks = {row[0].text: row[1].text for row in sample.task_types.rows}
    assert tasks == {"fact checking": "3", "question answering": "2"}


def test_queries_of_a_log_have_no_passage_that_they_could_be_copied_from(tmp_path):
    folder = write_tables(tmp_path / "log", QUERY_TEXTS, log=QUERY_TEXTS[:2])
    sample = make_query_sample(read_run_data(folder))
    told = dict(sample.shares)
    assert told["passages that queries were written for"] == "3 of 10 (30.0%)"
    assert told["more than half copied from the passage"] == "2 of 3 (66.7%)"
    assert [one["passage_id"] for one in sample.queries] == ["", "", "p2", "p3", "p4"]
    write_html(folder)


def test_long_run_is_sampled_evenly(tmp_path):
    folder = write_tables(tmp_path / "many", [f"query number {n}" for n in range(2500)])
    sample = make_query_sample(read_run_data(folder))
    assert dict(sample.shares)["looked at for these"] == "1,000"
    shown = [one["query"] for one in sample.queries]
    assert len(shown) == 20
    assert shown[0] == "query number 0"
    assert shown[10] == "query number 1250"
    assert sample.queries[10]["title"] == "Bees 0"


def test_run_without_queries_has_no_sample(tmp_path):
    with Run(tmp_path / "run") as run:
        run.open_stage("passages", {}).finish()
    assert make_query_sample(read_run_data(tmp_path / "run")) is None


@pytest.mark.bad_input("corpus", "a generated query that is a script", "shown as text")
def test_queries_are_shown_as_text(tmp_path):
    folder = write_tables(tmp_path / "hostile", [HOSTILE])
    page = write_html(folder).read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
