"""What is in the mixture, how often, and under which name it is found."""

from collections import Counter

import pytest
from helpers.passages import write_shard
from helpers.training_by_hand import make_example_rows, make_passage_rows, make_recipe, write_inputs

from distill.errors import UserError
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import EXAMPLES, PASSAGES
from distill.train.data.sources import TrainingInputs, check_titles, find_revisions, read_mixture


@pytest.fixture
def inputs(tmp_path):
    with Run(tmp_path / "run") as run:
        passages, examples = write_inputs(run, make_example_rows())
        yield TrainingInputs(run, passages, [examples], None, None)


def read(inputs: TrainingInputs, seed: int = 1, **train) -> Counter[str]:
    rows = read_mixture(inputs, make_recipe("x", train=train).train, seed)
    return Counter(scored.row["query_id"] for scored in rows)


def test_examples_are_seen_once_by_default(inputs):
    assert read(inputs) == Counter(row["query_id"] for row in make_example_rows())


def test_weights_repeat_rows_and_leave_others_out(inputs):
    twice = read(inputs, mixture=[{"path": "examples", "weight": 2}])
    assert set(twice.values()) == {2}
    third = read(inputs, mixture=[{"path": "examples", "weight": 1 / 3}])
    assert sum(third.values()) == len(third) == 3
    assert third == read(inputs, mixture=[{"path": "examples", "weight": 1 / 3}])
    more = read(inputs, mixture=[{"path": "examples", "weight": 1.334}])
    assert sum(more.values()) == 12


def test_source_may_be_the_rows_of_some_task_types(tmp_path):
    rows = [
        row | {"task_type": "log"} if n < 2 else row for n, row in enumerate(make_example_rows())
    ]
    with Run(tmp_path / "other") as run:
        passages, examples = write_inputs(run, rows)
        inputs = TrainingInputs(run, passages, [examples], None, None)
        of_log = {"path": "examples", "task_types": ["log"], "weight": 2}
        found = read(inputs, mixture=[{"path": "examples"}, of_log])
        assert [found[row["query_id"]] for row in rows] == [3, 3, *[1] * (len(rows) - 2)]
        unknown = of_log | {"task_types": ["logs"]}
        with pytest.raises(UserError, match=r"no example of the task types \['logs'\]"):
            read(inputs, mixture=[unknown])


def test_mixture_of_all_task_types_has_the_fingerprint_that_it_always_had():
    mixture = [{"path": "examples", "weight": 2}]
    settings = make_recipe("x", train={"mixture": mixture}).train.list_fingerprinted()
    assert settings["mixture"] == [{"path": "examples", "weight": 2.0}]


def test_titles_ask_for_their_texts(inputs):
    train = make_recipe("x", train={"mixture": [{"path": "titles"}]}).train
    rows = [scored.row for scored in read_mixture(inputs, train, 1)]
    assert [(row["query"], row["positive"]) for row in rows] == [
        (row["title"], row["text"]) for row in make_passage_rows()
    ]
    assert rows[3]["positive_id"] == rows[3]["seed_id"] == "p3"


@pytest.mark.bad_input("student", "training on titles without titles", "refused")
def test_titles_need_a_corpus_with_titles(inputs):
    mixture = [{"path": "titles"}]
    train = make_recipe("x", train={"mixture": mixture}).train
    check_titles(train, inputs.passages)
    with pytest.raises(UserError, match="no passage that has a title"):
        check_titles(train, None)
    untitled = inputs.run.open_stage("untitled", {})
    untitled.map_shards(
        PASSAGES, [[row | {"title": " "} for row in make_passage_rows()]], ShardResult
    )
    with pytest.raises(UserError, match="no passage that has a title"):
        check_titles(train, untitled)
    check_titles(make_recipe("x").train, untitled)


def test_folder_or_a_stage_of_the_run_is_a_source(tmp_path, inputs):
    row = make_example_rows()[0] | {"query_id": "from a folder"}
    (tmp_path / "pairs").mkdir()
    write_shard(EXAMPLES, tmp_path / "pairs" / "a.parquet", [row])
    stage = inputs.run.open_stage("more", {})
    stage.map_shards(EXAMPLES, [[row | {"query_id": "from a stage"}]], ShardResult)
    mixture = [{"path": str(tmp_path / "pairs")}, {"path": "more", "weight": 3}]
    assert read(inputs, mixture=mixture) == {"from a folder": 1, "from a stage": 3}
    train = make_recipe("x", train={"mixture": [*mixture, {"path": "examples"}]}).train
    before = find_revisions(inputs, train)
    assert before["more"] == stage.fingerprint
    assert set(before) == {"more", str(tmp_path / "pairs")}
    write_shard(EXAMPLES, tmp_path / "pairs" / "a.parquet", [row, row])
    assert find_revisions(inputs, train) != before


@pytest.mark.bad_input("student", "a source of examples that is not there", "refused")
def test_source_that_is_not_there_is_refused(inputs):
    train = make_recipe("x", train={"mixture": [{"path": "exmaples"}]}).train
    with pytest.raises(UserError, match=r"'exmaples'.*neither a stage"):
        find_revisions(inputs, train)


def test_types_of_task_are_balanced(tmp_path):
    rows = [
        row | {"task_type": "rare"} if n < 2 else row for n, row in enumerate(make_example_rows())
    ]
    with Run(tmp_path / "other") as run:
        passages, examples = write_inputs(run, rows)
        balanced = read(TrainingInputs(run, passages, [examples], None, None), balance="task_type")
    rare = {"q0", "q1"}
    of_rare = sum(count for key, count in balanced.items() if key in rare)
    of_others = sum(count for key, count in balanced.items() if key not in rare)
    assert (of_rare, of_others) == (4, 4)
    assert set(balanced.values()) == {1, 2}
