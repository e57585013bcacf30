"""What the report tells of the way from passages to examples."""

from distill.evaluate.report import write_report
from distill.run import Run

FOUND = {
    "tasks": "SciFact, held-out",
    "run of words": 8,
    "evaluation queries": 312,
    "evaluation queries too short to check": 1,
    "queries dropped": 5,
    "seed passages": 90,
    "seed passages that hold an evaluation query": 3,
    "seed passages that share words with an evaluation document": 88,
}


def report_of(folder, **queries) -> str:
    with Run(folder) as run:
        passages = run.stage("passages", {})
        passages.finish(rows=500, counts={"dropped short": 7, "kept": 500})
        generations = run.stage("generations", {}, [passages])
        generations.finish(rows=100, counts={"written": 100})
        parsed = run.stage("parsed", {}, [generations])
        parsed.finish(rows=80, counts={"dropped: malformed": 5, "dropped: unfinished": 15})
        made = run.stage("queries", {}, [passages, parsed])
        made.finish(rows=60, **queries)
        run.stage("examples", {}, [made])
    return write_report(folder).read_text(encoding="utf-8")


def test_the_funnel_tells_what_each_step_dropped(tmp_path):
    counts = {"dropped: round trip": 15, "dropped: exact duplicate": 5, "kept": 60}
    lines = report_of(tmp_path, counts=counts).splitlines()
    start = lines.index("## From passages to examples")
    assert lines[start + 2 : start + 8] == [
        "| table | rows | kept | dropped |",
        "| --- | --- | --- | --- |",
        "| passages | 500 | 98.6% | short 7 |",
        "| generations | 100 |  |  |",
        "| parsed | 80 | 80.0% | unfinished 15, malformed 5 |",
        "| queries | 60 | 75.0% | round trip 15, exact duplicate 5 |",
    ]


def test_decontamination_is_told_in_words(tmp_path):
    text = report_of(tmp_path, decontamination=FOUND)
    told = text.split("## Decontamination")[1].split("##")[0]
    assert "312 evaluation queries of SciFact, held-out, by runs of 8 words" in told
    assert "5 queries dropped; of 90 seed passages 3 hold words of an evaluation query" in told
    assert "88 seed passages share words with an evaluation document" in told
    assert "queries: decontamination" not in text


def test_a_run_that_was_not_checked_says_so(tmp_path):
    assert "were not checked against any evaluation set" in report_of(tmp_path)
