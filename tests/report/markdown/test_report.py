"""What the report tells of the way from passages to examples."""

import re

import pytest
from helpers.report_runs import DECONTAMINATION, make_changed_query, write_run

from distill.errors import UserError
from distill.files.atomic import write_json
from distill.report.markdown.escape import write_table
from distill.report.markdown.report import write_report
from distill.store.run import Run


def report_of(folder, **queries) -> str:
    with Run(folder) as run:
        passages = run.open_stage("passages", {})
        passages.finish(rows=500, counts={"dropped short": 7, "kept": 500})
        generations = run.open_stage("generations", {}, [passages])
        generations.finish(rows=100, counts={"written": 100})
        parsed = run.open_stage("parsed", {}, [generations])
        parsed.finish(rows=80, counts={"dropped: malformed": 5, "dropped: unfinished": 15})
        made = run.open_stage("queries", {}, [passages, parsed])
        made.finish(rows=60, **queries)
        run.open_stage("examples", {}, [made])
    return write_report(folder).read_text(encoding="utf-8")


def test_funnel_tells_what_each_step_dropped(tmp_path):
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


def test_decontamination_is_reported_in_words(tmp_path):
    text = report_of(tmp_path, decontamination=DECONTAMINATION)
    told = text.split("## Decontamination")[1].split("##")[0]
    assert "312 evaluation queries of SciFact, held-out, by runs of 8 words" in told
    assert "5 dropped. Of 90 seed passages 3 hold words of an evaluation query" in told
    assert "88 share words with an evaluation document" in told
    assert "queries: decontamination" not in text


def test_decontamination_of_examples_without_a_corpus_is_reported(tmp_path):
    with Run(tmp_path) as run:
        short = {key: n for key, n in DECONTAMINATION.items() if "seed" not in key}
        run.open_stage("examples-brainstorm", {}).finish(rows=3, decontamination=short)
        run.open_stage("examples-labelled", {}).finish(rows=3)
    told = write_report(tmp_path).read_text(encoding="utf-8").split("## Decontamination")[1]
    assert "Brainstormed examples were checked against 312 evaluation queries" in told
    assert "Examples of labelled sets were not checked" in told


def test_run_that_was_not_checked_says_so(tmp_path):
    assert "were not checked against any evaluation set" in report_of(tmp_path)


# --- relabelling --------------------------------------------------------------------------------

HOSTILE = "x | y\n\n# Not a heading\n```\n<script>alert(1)</script> [a](b) **bold** `code` \x1b[31m"
"""A passage that would break out of a table, a list, a line or an element."""


RELABELLED = {
    "share_relabelled": 0.152,
    "share_seed_not_retrieved": 0.03,
    "seed_rank": {
        "ql": {"share_first": 0.5, "share_within_3": 0.75, "mean_reciprocal_rank": 0.625},
        "cross_encoder": {
            "share_first": 0.25,
            "share_within_3": 0.5,
            "mean_reciprocal_rank": 0.4,
        },
    },
    "kendall_tau": {"ql": {"cross_encoder": 0.3}, "cross_encoder": {"ql": 0.3}},
    "scores": {"ql": {"edges": [-2.0, -1.0, 0.0], "positive": [1, 4], "others": [48, 2]}},
}


def relabelling_of(folder, changes=(), **figures) -> str:
    with Run(folder) as run:
        candidates = run.open_stage("candidates", {})
        candidates.finish(rows=4, recall_at_k=0.9812, k=20)
        judged = run.open_stage("judgements-ql", {}, [candidates])
        judged.finish(
            rows=1000,
            seconds=40.0,
            counts={"pairs": 1000, "judged before": 200},
            tokens={"prompt": 5000, "shared": 4000, "new": 0},
        )
        other = run.open_stage("judgements-cross_encoder", {}, [candidates])
        other.finish(rows=1000, seconds=10.0, counts={"pairs": 1000})
        examples = run.open_stage("examples", {}, [judged, other])
        counts = {"kept": 500, "positive changed": 76, "fewer negatives than asked": 9}
        examples.finish(rows=500, counts=counts, **(RELABELLED | figures))
        write_json(examples.metadata_dir / "changes.json", list(changes))
    text = write_report(folder).read_text(encoding="utf-8")
    return text.split("## Relabelling\n")[1].split("\n## ")[0]


def test_relabelling_is_reported_in_words_and_counts(tmp_path):
    told = relabelling_of(tmp_path)
    assert "another passage than the seed for 15.2% of 500 queries" in told
    assert "for 3.0% of the queries retrieval did not find the seed" in told
    assert "- fewer negatives than asked: 9" in told
    assert "- recall@20 of the index against exact search: 0.9812" in told
    assert "Changes of positive" not in told


def test_rankers_are_compared_in_tables(tmp_path):
    lines = relabelling_of(tmp_path).splitlines()
    assert "| cross encoder | 0.250 | 0.500 | 0.400 |" in lines
    at = lines.index("|  | cross encoder | ql |")
    assert lines[at + 2 : at + 4] == ["| cross encoder |  | 0.300 |", "| ql | 0.300 |  |"]


def test_scores_are_drawn_as_bars(tmp_path):
    lines = relabelling_of(tmp_path).splitlines()
    low = next(line for line in lines if line.strip().startswith("-2 to"))
    high = next(line for line in lines if line.strip().startswith("-1 to"))
    assert low.count("█") == 6 + 24
    assert high.count("█") == 24 + 1
    assert low.split("█")[-1] == " 48"


def test_judgement_tells_its_speed_and_what_sharing_saved(tmp_path):
    lines = relabelling_of(tmp_path).splitlines()
    assert "| ql | 1,000 | 200 | 20.0 | 5,000 | 80.0% |" in lines
    assert "| cross encoder | 1,000 | 0 | 100.0 | – | – |" in lines


def test_changes_of_positive_can_be_read(tmp_path):
    told = relabelling_of(tmp_path, [make_changed_query(number) for number in range(1, 12)])
    assert "11 of 76, drawn evenly over the run." in told
    lines = told.splitlines()
    at = lines.index("11. **why do bees dance** Find the answer. (q\\~11)")
    assert lines[at + 1 : at + 3] == [
        "    - was p1 (fusion 3, ql 3, rc –, retriever 2): Bees dance.",
        "    - is p2 (fusion 1, ql 1, rc 1, retriever 5): Better: Bees dance.",
    ]


def test_passage_cannot_break_the_markdown(tmp_path):
    told = relabelling_of(tmp_path, [make_changed_query(1, query=HOSTILE, text=HOSTILE * 9)])
    block = told.split("### Changes of positive")[1].strip()
    lines = block.splitlines()
    assert len(lines) == 5
    assert all(len(line) < 700 for line in lines)
    for line in lines:
        assert "<" not in line
        assert "\x1b" not in line
        assert not re.search(r"(?<!\\)[`|\[\]]", line)
    assert "\\*\\*bold\\*\\*" in lines[2]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in lines[2]


def test_figures_of_relabelling_are_reported_once(tmp_path):
    relabelling_of(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.count("0.9812") == 1
    assert "seed_rank" not in text


def test_further_positives_are_not_counted_as_kept(tmp_path):
    with Run(tmp_path) as run:
        queries = run.open_stage("queries", {})
        queries.finish(rows=10)
        counts = {"kept": 8, "additional positives": 5, "dropped: no candidate answers it": 2}
        run.open_stage("examples", {}, [queries]).finish(rows=13, counts=counts)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "| examples | 13 | 80.0% | no candidate answers it 2 |" in text


@pytest.mark.parametrize(
    ("cell", "written"),
    [("a|b", "a\\|b"), ("a\nb", "a b"), ("`a`", "\\`a\\`"), ("<b>", "&lt;b>")],
)
def test_cell_stays_a_cell(cell, written):
    assert write_table(["x"], [[cell]]).splitlines()[2] == f"| {written} |"


def test_report_of_a_run_that_is_under_way(tmp_path):
    with Run(tmp_path / "run") as run:
        passages = run.open_stage("passages", {})
        passages.finish(rows=3, counts={"too short": 2})
        run.open_stage("a-later-one", {}, [passages])
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "The run is not evaluated yet." in text
    assert re.search(r"\| passages \| 3 \| 0\.0 \|  \| \w{16} \|  \| too short 2 \|", text)
    assert "| a-later-one (not complete) |" in text
    assert text.index("| passages") < text.index("| a-later-one")


def test_verdict_on_another_student_is_not_reported(tmp_path):
    folder = write_run(tmp_path / "bees")
    assert "- **kept**: 84.6% of the teacher" in write_report(folder).read_text(encoding="utf-8")
    with Run(folder, "stale") as run:
        run.open_stage("student", {"seed": 1}).finish(seconds=1.0)
    text = write_report(folder).read_text(encoding="utf-8")
    assert "made anew since the run was evaluated" in text
    assert "84.6%" not in text


@pytest.mark.bad_input("path", "a report on a folder that is no run", "refused")
def test_report_on_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no stage"):
        write_report(tmp_path)
