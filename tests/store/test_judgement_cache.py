"""What was judged is kept, as a whole or not at all."""

import sqlite3
from contextlib import closing

import pytest

from distill.errors import UserError
from distill.files.atomic import read_json, write_json
from distill.store.judgement_cache import (
    JudgementCache,
    JudgementOrigin,
    KnownJudgements,
    make_judgement_key,
)
from distill.store.run import Run
from distill.workers.shares import SharesPause, ShareTaker, ShareWorkers, WorkShare

MARK = {"pass": "ql", "llm": {"model": "m", "revision": "1"}, "prompt": "P"}


def test_judgements_are_found_by_the_next_process(tmp_path):
    keys = [make_judgement_key(MARK, "passage", f"query {n}") for n in range(1500)]
    scores = {key: (-n / 7, n) for n, key in enumerate(keys)}
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        judged.keep(scores)
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        assert judged.find([*keys, b"another"]) == scores


def test_judgement_that_was_first_stays(tmp_path):
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        judged.keep({b"k": (1.0, 1)})
        judged.keep({b"k": (2.0, 2)})
        assert judged.find([b"k"]) == {b"k": (1.0, 1)}


@pytest.mark.parametrize(
    ("mark", "texts"),
    [
        (MARK | {"pass": "rc"}, ("p", "q")),
        (MARK | {"prompt": "Q"}, ("p", "q")),
        (MARK | {"llm": {"model": "m", "revision": "2"}}, ("p", "q")),
        (MARK, ("p q",)),
        (MARK, ("q", "p")),
    ],
)
def test_judged_pair_differs_by_ranker_model_prompt_and_text(mark, texts):
    assert make_judgement_key(mark, *texts) != make_judgement_key(MARK, "p", "q")


def test_shard_sees_what_was_there_before_its_stage_and_not_what_came_since(tmp_path):
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        judged.keep({b"old": (1.0, 1)})
        judged.keep({b"since": (2.0, 2)}, JudgementOrigin(1, 0))
        assert KnownJudgements(judged._table, 1).find([b"old", b"since"]) == {b"old": (1.0, 1)}
        assert KnownJudgements(judged._table, 2).find([b"old", b"since"]).keys() == {
            b"old",
            b"since",
        }


@pytest.mark.parametrize("order", [(3, 5), (5, 3)])
def test_first_of_two_shards_that_judged_the_same_stays_whichever_was_done_first(tmp_path, order):
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        for shard in order:
            judged.keep({b"k": (float(shard), shard)}, JudgementOrigin(1, shard))
        judged.keep({b"k": (0.0, 0)}, JudgementOrigin(2, 0))
        assert judged.find([b"k"]) == {b"k": (3.0, 3)}


def test_judgements_of_before_there_were_checksums_are_found(tmp_path):
    with closing(sqlite3.connect(tmp_path / "j.sqlite")) as old:
        old.execute(
            "CREATE TABLE judged (key BLOB PRIMARY KEY, score REAL NOT NULL, "
            "tokens INTEGER NOT NULL) WITHOUT ROWID"
        )
        old.execute("INSERT INTO judged VALUES (?, -1.5, 3)", (b"k",))
        old.commit()
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        assert KnownJudgements(judged._table, 1).find([b"k"]) == {b"k": (-1.5, 3)}


@pytest.mark.bad_input("damage", "judgements.sqlite with another score", "judged again, said")
def test_judgement_that_was_changed_is_none(tmp_path, caplog):
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        judged.keep({b"a": (1.0, 1), b"b": (2.0, 2)})
    with closing(sqlite3.connect(tmp_path / "j.sqlite")) as other:
        other.execute("UPDATE judged SET score = 9 WHERE key = ?", (b"a",))
        other.commit()
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        assert judged.find([b"a", b"b"]) == {b"b": (2.0, 2)}
        assert "j.sqlite: 1 of its judgements are damaged; they are judged again" in caplog.text
        judged.keep({b"a": (1.0, 1)})
        assert judged.find([b"a"]) == {b"a": (1.0, 1)}


@pytest.fixture
def stage(tmp_path):
    with Run(tmp_path / "run") as run:
        yield run.open_stage("judgements-ql", {})


def test_stage_keeps_its_turn_whatever_is_judged_since(tmp_path, stage):
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        turn = judged.begin(stage)
        judged.keep({b"k": (1.0, 1)}, JudgementOrigin(turn + 5, 0))
        assert judged.begin(stage) == turn
        write_json(stage.metadata_dir / "judging.json", {"turn": turn})  # as of before
        assert judged.begin(stage) == turn


@pytest.mark.bad_input("damage", "another turn in a stage of judgements", "refused by file")
@pytest.mark.parametrize("damage", [{"turn": 7}, {"turn": None}, {"sha256": "00"}], ids=str)
def test_turn_that_is_not_what_was_written_is_refused(tmp_path, stage, damage):
    path = stage.metadata_dir / "judging.json"
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        judged.begin(stage)
        write_json(path, read_json(path) | damage)
        with pytest.raises(UserError, match=r"judging\.json: holds other bytes"):
            judged.begin(stage)


@pytest.mark.parametrize("finishes", [True, False], ids=["finish", "plain run"])
def test_copy_for_shares_is_gone_when_a_process_makes_the_rest(tmp_path, finishes):
    folder = tmp_path / "run"
    with closing(JudgementCache(tmp_path / "j.sqlite")) as judged:
        judged.keep({b"k": (1.0, 1)})
        with Run(folder) as run:
            run.use_workers(ShareTaker(folder, stops=True))
            stage = run.open_stage("judgements-ql", {})
            with pytest.raises(SharesPause), judged.open_for_workers(stage, 1):
                raise SharesPause("it is open for shares")
        with Run(folder, workers=ShareWorkers(folder, WorkShare(0, 2))) as run:
            stage = run.open_stage("judgements-ql", {})
            with judged.open_for_workers(stage, 1) as known:
                assert known.find([b"k"]) == {b"k": (1.0, 1)}
        with Run(folder) as run:
            if finishes:
                run.use_workers(ShareTaker(folder, stops=True))
            stage = run.open_stage("judgements-ql", {})
            with judged.open_for_workers(stage, 1) as known:
                assert known.find([b"k"]) == {b"k": (1.0, 1)}
        assert not [*stage.metadata_dir.glob("*.sqlite")]
