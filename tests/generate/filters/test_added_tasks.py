"""Evaluation tasks that are named after queries were filtered, and decontamination by them."""

import json

import pytest
from helpers.filter_queries import list_kept, read_shards
from helpers.query_rows import (
    make_filter_recipe,
    make_parsed_row,
    read_dropped,
)
from helpers.tiny_models import TEXTS

from distill.errors import UserError
from distill.store.run import Run


def held_out_stage(run, queries, documents):
    stage = run.open_stage("held-out", {"queries": queries})
    if not stage.complete:
        (stage.folder / "qrels").mkdir()
        for name, texts in (("queries", queries), ("corpus", documents)):
            rows = [{"_id": f"{name}{n}", "text": text} for n, text in enumerate(texts)]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (stage.folder / f"{name}.jsonl").write_text(lines)
        judged = "".join(f"queries{n}\tcorpus{n}\t1\n" for n in range(len(queries)))
        (stage.folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
        stage.finish(rows=len(queries))
    return stage


def evaluating(**filters):
    return make_filter_recipe(
        corpus={"source": "docstrings", "held_out": 0.1},
        evaluate={"tasks": ["held-out"]},
        generate={"filters": filters},
    )


EVALUATION = ["a glacier is a slow river of ice", "how do owls look behind"]


def test_decontamination_names_the_queries_that_it_dropped(make, tmp_path):
    with Run(tmp_path / "run") as run:
        held_out = held_out_stage(run, EVALUATION, [TEXTS[0], "an answer of its own"])
    asked = [
        [
            make_parsed_row("p0", "which organ moves blood"),
            make_parsed_row("p0", "How do owls look behind them?", 1),
            make_parsed_row("p2", "what carves valleys"),
            make_parsed_row("p2", "ice that moves", 1),
        ],
        [make_parsed_row("p8", "how far can owls turn")],
    ]
    stage = make(asked, evaluating(), held_out=held_out)
    assert [query_id for query_id, _ in list_kept(stage)] == ["p0~0", "p8~0"]
    assert read_dropped(stage) == [
        ("p0~1", "holds an evaluation query", "How do owls look behind them?"),
        ("p2~0", "passage holds an evaluation query", "what carves valleys"),
        ("p2~1", "passage holds an evaluation query", "ice that moves"),
    ]
    assert stage.manifest["figures"]["decontamination"] == {
        "tasks": "held-out",
        "run of words": 8,
        "evaluation queries": 2,
        "evaluation queries too short to check": 0,
        "queries dropped": 3,
        "seed passages": 3,
        "seed passages that hold an evaluation query": 1,
        "seed passages that share words with an evaluation document": 1,
    }


ASKED = [
    [
        make_parsed_row("p0", "which organ moves blood"),
        make_parsed_row("p0", "how far can an owl turn", 1),
    ],
    [make_parsed_row("p8", "what looks behind itself")],
]


def evaluate_on(tmp_path, queries):
    """The stage of held-out queries, which is another evaluation task for other queries."""
    with Run(tmp_path / "run", "stale") as run:
        return held_out_stage(run, queries, TEXTS[:2])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (EVALUATION, ["why do bees dance at noon"]),
        (EVALUATION[:1], EVALUATION),
        (EVALUATION, EVALUATION[:1]),
        (EVALUATION, None),
        (None, EVALUATION),
    ],
)
def test_tasks_that_hit_no_query_change_nothing(make, tmp_path, before, after):
    """Neither the rows nor the fingerprint, which all that is made from the queries hangs on; and
    they are those of a run that had the later tasks from the start."""
    off = evaluating(decontaminate=False)
    made = []
    for queries in (before, after):
        held_out = evaluate_on(tmp_path, queries or ["-"])
        settings = evaluating() if queries else off
        made.append(make(ASKED, settings, held_out=held_out))
    assert made[0] == made[1]
    told = made[1].manifest["figures"].get("decontamination", {})
    assert told.get("evaluation queries") == (len(after) if after else None)
    fresh = make(
        ASKED,
        evaluating() if after else off,
        held_out=evaluate_on(tmp_path, after or ["-"]),
        name="fresh",
    )
    assert read_shards(fresh) == read_shards(made[1])


def test_tasks_are_checked_once(make, tmp_path, monkeypatch):
    make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION))
    other = evaluate_on(tmp_path, EVALUATION[:1])
    make(ASKED, evaluating(), held_out=other)

    def refuse(*arguments):
        raise AssertionError("the evaluation's texts are read again")

    monkeypatch.setattr("distill.generate.filters.stage.Decontaminator", refuse)
    make(ASKED, evaluating(), held_out=other)


def test_overlap_is_reported_again_when_the_first_tasks_return(make, tmp_path):
    first = evaluate_on(tmp_path, EVALUATION)
    before = make(ASKED, evaluating(), held_out=first).manifest["figures"]
    make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION[:1]))
    again = make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION))
    assert again.manifest["figures"] == before


def test_task_that_hits_queries_is_refused_with_their_number(make, tmp_path):
    make(ASKED, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION))
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    with pytest.raises(UserError, match="1 of its rows hold words of an evaluation query") as fault:
        make(ASKED, evaluating(), held_out=hit)
    assert "distill compare RUN/student" in fault.value.remedy
    stage = make(ASKED, evaluating(), held_out=hit, overwrite="stale")
    assert [query_id for query_id, _ in list_kept(stage)] == ["p0~0", "p8~0"]


def test_queries_come_back_without_the_task_that_hit_them(make, tmp_path):
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    make(ASKED, evaluating(), held_out=hit)
    other = evaluate_on(tmp_path, EVALUATION)
    with pytest.raises(UserError, match="1 rows were left out for a task"):
        make(ASKED, evaluating(), held_out=other)
    stage = make(ASKED, evaluating(), held_out=other, overwrite="stale")
    assert len(list_kept(stage)) == 3


def test_query_of_a_log_is_checked_against_a_task_that_is_added(make, tmp_path):
    asked = [
        [
            make_parsed_row("", "which organ moves blood"),
            make_parsed_row("", "how far can an owl turn", 1),
        ]
    ]
    off = evaluating(decontaminate=False)
    made = make(asked, off, held_out=evaluate_on(tmp_path, EVALUATION))
    assert make(asked, evaluating(), held_out=evaluate_on(tmp_path, EVALUATION)) == made
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    with pytest.raises(UserError, match="1 of its rows hold words of an evaluation query"):
        make(asked, evaluating(), held_out=hit)


def test_task_that_was_added_can_be_removed_again(make, tmp_path):
    """Also where rows were left out for a task that stays."""
    pytest.importorskip("mteb")
    (tmp_path / "more.csv").write_text("question,passage\nwhy do bees dance at noon,They tell.\n")
    hit = evaluate_on(tmp_path, ["how far can an owl turn its"])
    more = evaluating()
    tasks = {"tasks": ["held-out", str(tmp_path / "more.csv")]}
    more = more.model_copy(update={"evaluate": more.evaluate.model_copy(update=tasks)})
    more._folder = tmp_path
    first = make(ASKED, evaluating(), held_out=hit)
    figures = first.manifest["figures"]
    assert len(list_kept(first)) == 2
    assert make(ASKED, more, held_out=hit) == first
    assert make(ASKED, evaluating(), held_out=hit) == first
    assert first.manifest["figures"] == figures
