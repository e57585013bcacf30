"""A query as `distill inspect` shows it."""

import shutil
from io import StringIO

import pytest
from helpers.label_rows import OF_TEXTS, make_label, make_query, make_relabel_recipe, prepare_labels
from rich.console import Console

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.inspect.tables import list_tables, show_query, show_rows, show_run
from distill.relabel.choose import make_examples
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import TEACHER_SCORES

TEXTS = {**OF_TEXTS, "b": "A [bold]glacier[/bold] \x1b[31mis[/] a slow river of ice [/italic]."}


def labels(query_id):
    of = {"b": (2.0, 1.5), "a": (1.5, 2.0), "seed": (1.0, -1.0), "c": (0.5, None)}
    rows = []
    for place, (id_, (rrf, rc)) in enumerate(of.items(), start=1):
        rc_rank = {2.0: 1, 1.5: 2, -1.0: 3, None: None}[rc]
        ql = {"ql": -float(place), "ql_rank": place}
        rows.append(make_label(id_, rrf, 5 - place, query_id, rc=rc, rc_rank=rc_rank, **ql))
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    rankers = ["ql", "rc", "retriever"]
    with Run(folder / "run") as run:
        queries = [make_query("q"), make_query("q2", "b")]
        rows = [labels("q"), labels("q2")]
        prepared = prepare_labels(run, queries, rows, TEXTS, rankers=rankers)
        settings = make_relabel_recipe(folder, rankers=rankers, more_positives=1.0, shard_size=1)
        examples = make_examples(
            run,
            settings.relabel,
            settings.seed,
            prepared.passages,
            prepared.queries,
            prepared.labels,
            prepared.candidates,
        )
        scores = [
            {
                "query_id": id_,
                "teacher": f"big/{teacher}",
                "scale": "cosine",
                "positive_score": score,
                "negative_scores": [0.125],
            }
            for id_, score in (("q", 0.75), ("q+2", 0.5), ("q2", 0.25), ("q2+2", 0.375))
            for teacher in ("one", "two")
        ]
        stage = run.open_stage("teacher-scores", {}, [examples])
        stage.map_shards(TEACHER_SCORES, [scores], ShardResult)
        stage.finish()
    return folder / "run"


def shown(run, query_id, width=160) -> str:
    out = StringIO()
    show_query(run, query_id, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_candidates_stand_in_the_order_of_fusion_with_every_rankers_rank(run):
    text = shown(run, "q")
    rows = [line for line in text.splitlines() if line.startswith("│") and "│ " in line[1:]]
    cells = [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]
    told = [row for row in cells if len(row) == 6 and row[1] in "1234" and row[1]]
    assert [row[5] for row in told] == ["b", "a", "seed", "c"]
    assert [row[1:5] for row in told] == [
        ["1", "1", "2", "4"],
        ["2", "2", "1", "3"],
        ["3", "3", "3", "2"],
        ["4", "4", "", "1"],
    ]
    assert "RRF" in text
    assert "graded" not in text


def test_rankers_order_is_one_line_each(run):
    lines = shown(run, "q").splitlines()
    assert "order by RRF: b > a > seed (seed) > c" in lines
    assert "order by rc: a > b > seed (seed)" in lines
    assert "order by retriever: c > seed (seed) > a > b" in lines


def test_change_of_positive_is_shown_with_ranks(run):
    text = shown(run, "q")
    assert (
        "positive CHANGED: from the seed seed (RRF 3, ql 3, rc 3, retriever 2) to "
        "b (RRF 1, ql 1, rc 2, retriever 4)"
    ) in text
    assert "further positive, example q+2: a (RRF 2, ql 2, rc 1, retriever 3)" in text
    assert "positive: the seed b (RRF 1, ql 1, rc 2, retriever 4)" in shown(run, "q2")


def test_teachers_scores_are_shown_for_each_example(run):
    text = shown(run, "q")
    assert "teacher big/one (cosine): positive b 0.7500; negatives c 0.1250" in text
    assert "teacher big/two (cosine): positive a 0.5000; negatives c 0.1250" in text
    assert "0.2500" not in text


def test_texts_are_shown_as_they_are_and_command_no_terminal(run):
    text = shown(run, "q")
    assert "A [bold]glacier[/bold] \ufffd[31mis[/] a slow river of ice [/italic]." in text
    assert OF_TEXTS["seed"] in text
    assert "\x1b" not in text


def test_teacher_scores_of_other_examples_are_left_out(run):
    manifest = run / "teacher-scores/.stage/manifest.json"
    kept = manifest.read_text()
    fingerprint = (run / "examples/.stage/manifest.json").read_text().split('"fingerprint": "')[1]
    manifest.write_text(kept.replace(fingerprint[:16], "0" * 16))
    try:
        assert "teacher big" not in shown(run, "q")
    finally:
        manifest.write_text(kept)


@pytest.mark.parametrize("made_again", [["candidates"], ["candidates", "labels"]])
def test_query_is_shown_while_relabelling_is_made_again(tmp_path, made_again):
    """Fewer candidates are found than before, and then the run is stopped."""
    fewer = [row for row in labels("q") if row["passage_id"] not in ("b", "c")]
    for name, rows in (("run", labels("q")), ("fewer", fewer)):
        with Run(tmp_path / name) as run:
            prepared = prepare_labels(run, [make_query("q")], [rows], TEXTS)
            rule = make_relabel_recipe(tmp_path, rankers=["ql"], shard_size=1)
            stages = prepared.passages, prepared.queries, prepared.labels, prepared.candidates
            make_examples(run, rule.relabel, rule.seed, *stages)
    for name in made_again:
        shutil.rmtree(tmp_path / "run" / name)
        shutil.copytree(tmp_path / "fewer" / name, tmp_path / "run" / name)
        manifest = tmp_path / "run" / name / ".stage/manifest.json"
        known = read_json(manifest)
        inputs = known["inputs"] | {of: f"{of} anew" for of in known["inputs"] if of in made_again}
        write_json(manifest, known | {"fingerprint": f"{name} anew", "inputs": inputs})
    text = shown(tmp_path / "run", "q")
    assert "no example: not chosen yet" in text
    assert "glacier" not in text
    assert ("order by RRF" in text) is ("labels" in made_again)


def test_table_of_teacher_scores_can_be_looked_at(run):
    out = StringIO()
    console = Console(file=out, width=120)
    assert list_tables(run)["teacher-scores"] is TEACHER_SCORES
    show_rows(run, "teacher-scores", 1, 0, console)
    show_run(run, console)
    assert "big/one" in out.getvalue()


def test_counts_stand_in_the_order_in_which_they_arise(tmp_path):
    with Run(tmp_path / "run") as run:
        stage = run.open_stage("passages", {})
        stage.finish(counts={"dropped short": 2, "kept": 7, "over limit": 1, "read": 10})
    out = StringIO()
    show_run(tmp_path / "run", Console(file=out, width=120))
    assert "read 10, kept 7, over limit 1, dropped short 2" in out.getvalue()


def test_inspect_tells_who_made_a_stage_and_what_was_lost(tmp_path):
    with Run(tmp_path) as run:
        for name in ("here", "elsewhere"):
            run.open_stage(name, {}).finish()
    path = tmp_path / "elsewhere" / ".stage" / "manifest.json"
    execution = {
        "on": "ray",
        "nodes": ["n1", "n2"],
        "devices": ["NVIDIA H100"],
        "workers": 5,
        "workers_lost": 2,
        "batches_tried_again": 3,
    }
    write_json(path, {**read_json(path), "execution": execution})
    out = StringIO()
    show_run(tmp_path, Console(file=out, width=200))
    told = "by ray: 5 workers, 2 lost, 3 batches tried again, on n1, n2, on NVIDIA H100"
    assert out.getvalue().count("by ") == 1
    assert told in out.getvalue()


def test_inspect_leaves_out_tables_that_are_not_made_yet(tmp_path):
    with Run(tmp_path / "run") as run:
        prepare_labels(run, [make_query("q")], [labels("q")], TEXTS)
    text = shown(tmp_path / "run", "q")
    assert "no example: not chosen yet, or dropped" in text
    assert "order by ql: b > a" in text


@pytest.mark.bad_input("command line", "inspect --query of a query that is not there", "refused")
def test_unknown_query_is_named(run):
    with pytest.raises(UserError, match="no query 'absent'"):
        shown(run, "absent")


def test_run_with_a_damaged_manifest_names_it(tmp_path):
    book = tmp_path / "passages" / ".stage"
    book.mkdir(parents=True)
    (book / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read as the manifest of a stage"):
        show_run(tmp_path, Console(file=StringIO()))


@pytest.mark.bad_input("command line", "inspect of a run or stage that is not there", "refused")
def test_absent_runs_and_stages_are_named(run, tmp_path):
    console = Console(file=StringIO())
    for table in ("queries", "dropped", "queries/dropped"):
        with pytest.raises(UserError, match="is not a run"):
            show_rows(tmp_path / "nope", table, 1, 0, console)
    with pytest.raises(UserError, match="nope: is not a stage of this run"):
        show_rows(run, "nope/dropped", 1, 0, console)


def test_stage_that_dropped_nothing_says_so(run):
    out = StringIO()
    show_rows(run, "candidates/dropped", 1, 0, Console(file=out, width=120))
    assert out.getvalue() == "candidates dropped nothing\n"
