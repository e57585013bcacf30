"""The verdict in a sentence and in tables."""

import copy

import pytest
from rich.console import Console

from distill.errors import UserError
from distill.evaluate.score import TaskScore
from distill.evaluate.statistics.significance import compare_scores
from distill.evaluate.summary import average_by_category, name_difference, read_summary
from distill.evaluate.verdict import draw_verdict
from distill.files.atomic import write_json
from distill.report.facts import list_facts
from distill.report.score_tables import render
from distill.report.verdict import write_headline

ITEMS = 30


def model(scores, tasks, **other):
    return {
        "model": "some/model",
        "revision": "abc",
        "licence": "mit",
        "parameters": 22_700_000,
        "bytes": 91_000_000,
        "dimensions": 384,
        "texts_per_second": 120.5,
        "latency_ms": 8.25,
        "index_bytes_per_million": 1_536_000_000,
        "score": sum(scores.values()) / len(scores),
        "by_category": average_by_category(tasks, scores),
        "tasks": scores,
        "variant_of": None,
        "published": False,
        "mteb": "2.26.0",
    } | other


def scored(task, score, bare=False):
    # Values of items around the score, so that their mean is it.
    spread = [score + 0.1 * (-1) ** i for i in range(ITEMS)]
    items = {} if bare else {f"test/default/q{i}": value for i, value in enumerate(spread)}
    return TaskScore(task, "Retrieval", "ndcg_at_10", score, items)


def summary_of(scores, bare=()):
    """`scores`: by role, a score a task."""
    names = list(next(iter(scores.values())))
    tasks = {
        name: {
            "category": "STS" if name in bare else "Retrieval",
            "metric": "cosine_spearman" if name in bare else "ndcg_at_10",
            "revision": "1",
            "items": None if name in bare else ITEMS,
        }
        for name in names
    }
    of = {
        role: [scored(name, s, name in bare) for name, s in by_task.items()]
        for role, by_task in scores.items()
    }
    teacher = scores.get("teacher")
    means = {role: sum(by_task.values()) / len(by_task) for role, by_task in scores.items()}
    return {
        "schema": 2,
        "mteb": "2.26.0",
        "tasks": tasks,
        "models": {role: model(by_task, tasks) for role, by_task in scores.items()},
        "kept": means["student"] / means["teacher"] if teacher else None,
        "differences": {
            name_difference("student", role): compare_scores(of["student"], of[role])
            for role in scores
            if role != "student"
        },
    }


def told_of(summary):
    """The facts, one a line, as `label: what there is to say`."""
    return [f"{label}: {told}" for label, told in list_facts(summary)]


def screen(summary, width=100):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(render(summary))
    return capture.get()


@pytest.fixture
def plain():
    return summary_of(
        {
            "base": {"SciFact": 0.5, "mine": 0.3},
            "base-2": {"SciFact": 0.4, "mine": 0.3},
            "student": {"SciFact": 0.6, "mine": 0.4},
            "teacher": {"SciFact": 0.7, "mine": 0.5},
        }
    )


def test_facts_tell_share_intervals_costs_and_what_to_do_in_that_order(plain):
    plain["models"]["teacher"] |= {"parameters": 45_400_000, "texts_per_second": 60.25}
    plain["retention"] = {"share": 0.8333, "low": 0.781, "high": 0.8799, "items": 60}
    gap = "{0}, 95 % interval {0} to {0}, 60 queries, p < 0.001"
    assert told_of(plain) == [
        "kept: 83.3% of the teacher's mean nDCG@10 (0.5000 of 0.6000), 95 % interval 78.1% to "
        "88.0%",
        "costs: 0.50 times the parameters, 1.00 times the size on disk and 2.00 times the speed of "
        "the teacher",
        f"student - teacher: worse: {gap.format('-0.1000')}",
        f"student - base model: better: {gap.format('+0.1000')}",
        f"student - base model 2: better: {gap.format('+0.1500')}",
        "what to do: ship the student",
        "how sure: No interval contains 0. They are over queries, not over seeds of training.",
    ]


def test_note_tells_the_repetitions(plain):
    told = " ".join(screen(plain).split())
    assert "paired bootstrap over items (B = 5,000 draws)" in told
    assert "permutation test (9,999 swaps)." in told
    plain["tasks"]["mine"] |= {"category": "STS", "metric": "cosine_spearman"}
    assert "(9,999 swaps); 1,999 of each on mine." in " ".join(screen(plain).split())


BASELINES = {
    "bm25": {"SciFact": 0.75, "mine": 0.35},
    "student + bm25": {"SciFact": 0.8, "mine": 0.5},
}


@pytest.fixture
def beside_bm25():
    scores = {
        "base": {"SciFact": 0.5, "mine": 0.3},
        "student": {"SciFact": 0.6, "mine": 0.4},
        "teacher": {"SciFact": 0.605, "mine": 0.401},
    }
    found = summary_of(scores | BASELINES)
    costs = ("parameters", "bytes", "dimensions", "texts_per_second", "latency_ms")
    for role in BASELINES:
        found["models"][role] |= dict.fromkeys((*costs, "index_bytes_per_million"))
        measures = {
            "SciFact": {"mrr_at_10": 0.25, "map_at_10": 0.25},
            "mine": {"mrr_at_10": 0.75, "map_at_10": 0.75},
        }
        found["models"][role] |= {"baseline": True, "measures": measures}
    return found


def test_share_of_the_teacher_is_the_same_in_sentence_and_table():
    found = summary_of({"student": {"mine": 0.452245}, "teacher": {"mine": 0.5}})
    found["kept"] = 0.9045  # of 0.90449; rounded once more it would be 90.5 %
    assert told_of(found)[0].startswith("kept: 90.4% of the teacher's")
    assert "90.4%" in screen(found)


def test_headline_says_what_to_ship_and_how_the_student_stands(plain, beside_bm25):
    assert write_headline(plain) == (
        "Ship the student: the student is better than the base model, better than the base model 2 "
        "and worse than the teacher."
    )
    assert write_headline(beside_bm25) == (
        "Ship the hybrid, student + BM25: the student is better than the base model, worse than "
        "BM25 and level with the teacher."
    )
    told = told_of(beside_bm25)
    assert "how sure: Level means that the 95 % interval lies within 0.01." in told
    gap = "worse: {0}, 95 % interval {0} to {0}, 60 queries, p < 0.001"
    assert f"student - BM25: {gap.format('-0.0500')}" in told
    assert f"student - (student + BM25): {gap.format('-0.1500')}" in told
    assert (
        "what to do: ship the hybrid: search with student + BM25, by the weighted sum of both "
        "scores"
    ) in told


def test_headline_says_where_an_llm_judged_the_answers():
    alone, beside = (
        summary_of({"student": dict.fromkeys(tasks, 0.6), "base": dict.fromkeys(tasks, 0.5)})
        for tasks in (["judged"], ["judged", "mine"])
    )
    assert write_headline(alone).startswith("By an LLM's judgments: Ship the student")
    assert write_headline(beside).startswith("In part by an LLM's judgments: Ship the student")
    assert any("which `distill judge RUN` lets a person check" in line for line in told_of(beside))
    (to_do,) = [line for line in told_of(alone) if line.startswith("what to do")]
    assert to_do.endswith("first let a person check the LLM that judged, with `distill judge RUN`")


def test_headline_says_that_documents_were_searched_for_by_their_titles(beside_bm25):
    beside_bm25["verdict"] = draw_verdict(beside_bm25, {"known-item": "titles"}, None)
    assert write_headline(beside_bm25).startswith(
        "By a search for documents by their titles: Ship the hybrid, student + BM25: the student"
    )


def test_bm25_is_not_mentioned_by_sentences_and_the_reason_is_told(beside_bm25):
    beside_bm25["verdict"] = draw_verdict(beside_bm25, {"known-item": "sentences"}, None)
    assert write_headline(beside_bm25) == (
        "By a search for documents by sentences, which does not decide on BM25: Ship the student: "
        "the student is better than the base model and level with the teacher."
    )
    told = told_of(beside_bm25)
    (beside,) = [line for line in told if line.startswith("student - BM25: ")]
    assert beside.startswith("student - BM25: not decided by this task: -0.0500")
    assert (
        "what to do: ship the student; whether BM25 or a hybrid is better, labelled queries would "
        "tell"
    ) in told
    (sure,) = [line for line in told if line.startswith("how sure: ")]
    assert "A document lacks the words of the sentence that asks for it" in sure
    in_part = {"known-item": "sentences", "mine": "labels"}
    beside_bm25["verdict"] = draw_verdict(beside_bm25, in_part, None)
    assert write_headline(beside_bm25).startswith("In part by a search for documents by sentences")


def test_scores_of_a_task_that_an_llm_judged_stand_beside_the_verdict():
    scores = {"student": {"mine": 0.6, "judged": 0.2}, "base": {"mine": 0.5, "judged": 0.4}}
    found = summary_of(scores)
    alone = summary_of({role: {"mine": of["mine"]} for role, of in scores.items()})
    found |= {"unaveraged": ["judged"]}
    for role, of in found["models"].items():
        of["score"] = alone["models"][role]["score"]
    gap = found["differences"]["student - base"]
    gap["overall"] = alone["differences"]["student - base"]["overall"]
    assert write_headline(found) == write_headline(alone)
    assert told_of(found)[:-1] == told_of(alone)
    assert told_of(found)[-1] == (
        "task judged: no part of this verdict, for an LLM chose its answers: the student is "
        "-0.2000 [-0.2000, -0.2000] beside the base model, over 30 queries"
    )
    assert "judged" in screen(found)
    assert "mean (task)" not in screen(found)


def test_unclear_verdict_names_the_difference_that_would_show(plain):
    gap = plain["differences"]["student - teacher"]["overall"]
    gap |= {"difference": 0.0, "low": -0.008, "high": 0.02}
    assert "not told apart from the teacher" in write_headline(plain)
    assert (
        "how sure: 60 queries would show a difference from the teacher of 0.020 or more; the "
        "student is at most 0.01 worse."
    ) in told_of(plain)


def test_tables_have_baselines_and_measures_of_rankings(beside_bm25):
    text = screen(beside_bm25)
    (header,) = [line for line in text.splitlines() if "MRR@10" in line]
    assert "MAP@10" not in header  # of a terminal's columns none is left for it
    assert header.split()[0] == "nDCG@10"
    (row,) = [line for line in text.splitlines() if line.startswith(" BM25")][:1]
    assert row.split() == ["BM25", "0.5500", "109.3%", "0.5000"]
    assert "Beside BM25 and hybrids" in text
    (pair,) = [line for line in text.splitlines() if line.startswith(" student - BM25 ")]
    assert pair.split()[3:] == ["-0.0500", "[-0.0500,", "-0.0500]", "<", "0.001", "30/0/30"]
    assert "Student - BM25" not in text
    # What a baseline costs was not measured, and so it has no row there.
    costs = text[text.index("texts/s") : text.index("Scores")]
    assert "BM25" not in costs


def test_base_that_the_student_does_not_beat_is_said_first():
    summary = summary_of({"base": {"a": 0.5}, "student": {"a": 0.5}, "teacher": {"a": 0.6}})
    labels = [label for label, _ in list_facts(summary)]
    assert labels.index("student - base model") < labels.index("student - teacher")
    (line,) = [line for line in told_of(summary) if line.startswith("student - base model")]
    assert line.startswith("student - base model: NO better than the base model: +0.0000")
    assert line.endswith("p = 1.000, which may be chance")


def test_gain_that_may_be_chance_is_not_called_better():
    summary = summary_of({"base": {"a": 0.5}, "student": {"a": 0.51}})
    gap = summary["differences"]["student - base"]["overall"]
    gap |= {"low": -0.01, "high": 0.03, "p": 0.3, "difference": 0.01}
    assert told_of(summary)[1:] == [
        "student - base model: not told apart: +0.0100, 95 % interval -0.0100 to +0.0300, "
        "30 queries, p = 0.300, which may be chance",
        "what to do: ship the student; more queries would tell it from its base",
        "how sure: 30 queries would show a difference from the base model of 0.029 or more; the "
        "student is at most 0.01 worse.",
    ]


def test_interval_without_0_is_not_called_chance():
    summary = summary_of({"base": {"a": 0.5}, "student": {"a": 0.43}})
    gap = summary["differences"]["student - base"]["overall"]
    gap |= {"low": -0.1335, "high": -0.0089, "p": 0.064, "difference": -0.0682}
    assert told_of(summary)[1].endswith("(the permutation test is less sure: p = 0.064)")


def test_score_is_reported_without_a_teacher():
    summary = summary_of({"base": {"a": 0.3}, "student": {"a": 0.5}})
    assert told_of(summary)[0] == "student: nDCG@10 0.5000"
    assert not any("teacher" in line for line in told_of(summary))


def test_metrics_of_several_kinds_are_called_a_mean_and_a_missing_interval_is_explained():
    scores = {
        "student": {"a": 0.5, "STSBenchmark": 0.8},
        "teacher": {"a": 0.6, "STSBenchmark": 0.9},
    }
    summary = summary_of(scores, bare=["STSBenchmark"])
    told = told_of(summary)
    assert "kept: 86.7% of the teacher's mean over tasks (0.6500 of 0.7500)" in told
    assert (
        "student - teacher: not told apart: -0.1000, no interval (no values of single items on "
        "STSBenchmark)"
    ) in told
    shown = screen(summary)
    assert "mean (task type)" in shown
    assert "mean (task)" in shown
    assert "Spearman" in shown
    assert "hence no interval there or of a mean over them: STSBenchmark." in shown


def test_figures_that_a_server_does_not_give_are_left_out(plain):
    unknown = dict.fromkeys(("parameters", "bytes", "texts_per_second", "latency_ms"))
    plain["models"]["teacher"] |= unknown
    assert not any("times the" in line for line in told_of(plain))
    rows = [line for line in screen(plain).splitlines() if line.strip().startswith("teacher")]
    assert [row.split().count("-") for row in rows] == [0, 4]


def test_tables_have_a_row_a_model_and_a_row_a_task(plain):
    text = screen(plain)
    lines = [line.strip() for line in text.splitlines()]
    starts = [line.split("  ")[0] for line in lines if line]
    assert starts[starts.index("base model") :][:4] == [
        "base model",
        "base model 2",
        "student",
        "teacher",
    ]
    of_scores = lines[lines.index("Scores") :]
    scifact = next(line for line in of_scores if line.startswith("SciFact"))
    assert scifact.split() == ["SciFact", "nDCG@10", "0.5000", "0.4000", "0.6000", "0.7000"]
    of_teacher = lines[lines.index("Student - teacher") :]
    (scifact,) = [line for line in of_teacher if line.startswith("SciFact")]
    assert scifact.split()[1] == "-0.1000"
    assert scifact.split()[-1] == "0/0/30"
    for header in ("of the teacher", "on disk", "texts/s", "index of 1M", "95 % interval"):
        assert header in text


def test_screen_is_no_wider_than_a_hundred_columns():
    names = [f"AVeryLongNameOfATaskClassification.v{i}" for i in range(3)]
    scores = dict.fromkeys(names, 0.5)
    summary = summary_of({"base": scores, "student": scores, "teacher": scores | {names[0]: 0.2}})
    name = "some-owner/an-embedding-model-with-a-long-name-v2 [bold]x"
    summary["models"][name] = model(scores, summary["tasks"], published=True)
    summary["differences"][f"student - {name}"] = summary["differences"]["student - teacher"]
    for role in ("student@128", "student queries, teacher documents"):
        summary["models"][role] = model(scores, summary["tasks"], variant_of="student")
        summary["differences"][f"{role} - student"] = summary["differences"]["student - teacher"]
    text = screen(summary, width=250)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    joined = "".join(text.split())
    assert "[bold]" in joined, "a model's name is no markup"
    assert "notmeasuredherebymteb2.26.0:some-owner" in joined
    assert "Variants - student" in text
    assert "+0.3000 [+0.3000, +0.3000]" in text, "numbers are not cut"


def test_numbers_are_not_cut_on_a_screen_of_eighty_columns(plain):
    rows = [line.split() for line in screen(plain, width=80).splitlines()]
    assert ["teacher", "22.7M", "91.0", "MB", "384", "120.5", "8.2", "1.5", "GB"] in rows
    told = "-0.1000 [-0.1000, -0.1000] < 0.001 0/0/30"
    assert ["SciFact", *told.split()] in rows


@pytest.mark.bad_input(
    "damage", "a summary of an earlier version", "refused, with the command that makes it anew"
)
def test_summary_of_an_earlier_distill_is_refused(plain, tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, plain)
    assert read_summary(path) == plain
    old = copy.deepcopy(plain)
    del old["schema"]
    write_json(path, old)
    with pytest.raises(UserError, match="another version of distill"):
        read_summary(path)


@pytest.mark.parametrize(
    ("categories", "items"),
    [
        (["Retrieval", "Reranking"], "60 queries,"),
        (["STS", "PairClassification"], "60 pairs of texts,"),
        (["Retrieval", "STS"], "60 queries and texts,"),
    ],
)
def test_items_are_called_what_they_are(categories, items):
    summary = summary_of({"student": {"a": 0.5, "b": 0.4}, "teacher": {"a": 0.6, "b": 0.5}})
    for task, category in zip(summary["tasks"].values(), categories, strict=True):
        task["category"] = category
    assert any(items in line for line in told_of(summary))
