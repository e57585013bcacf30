"""Stages in shares, which processes that know nothing of each other compute: the bytes of one
process, whoever is killed."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.ray_work import open_lengths
from helpers.written_files import read_files, read_tables

from distill.api.shares import compute_share, finish_shares
from distill.cli import cli
from distill.errors import UserError
from distill.pipeline.job import Job
from distill.recipe import load_recipe
from distill.store.run import Run
from distill.store.shard_bytes import EncodedShard, pack_shard, unpack_shard
from distill.store.stage import Stage
from distill.store.tables import DROPPED
from distill.workers.protocol import WorkerNeeds
from distill.workers.share_files import lock_share
from distill.workers.shares import FOLDER, SharesPause, ShareTaker, ShareWorkers, WorkShare

ITEMS = [f"item {number}" for number in range(7)]
ENCODER = WorkerNeeds("encoder", "cpu")


@pytest.fixture
def marks(tmp_path) -> Path:
    """What was begun, counted by its letters."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def fill(run: Run, marks: Path) -> Stage:
    stage = run.open_stage("words", {})
    stage.map_on_workers(DROPPED, ITEMS, partial(open_lengths, marks, 0.0), ENCODER, together=2)
    stage.finish()
    return stage


@pytest.fixture
def whole(tmp_path, marks) -> dict[str, bytes]:
    """The files of the stage made by one process."""
    with Run(tmp_path / "here") as run:
        made = read_files(fill(run, marks).folder)
    for path in marks.iterdir():
        path.unlink()
    return made


def compute(folder: Path, marks: Path, number: int, count: int) -> str:
    workers = ShareWorkers(folder, WorkShare(number, count))
    with Run(folder, workers=workers) as run, pytest.raises(SharesPause) as pause:
        fill(run, marks)
    return str(pause.value)


def take_over(folder: Path, marks: Path, stops: bool = True, mixed: bool = False) -> Stage:
    with Run(folder) as run:
        run.use_workers(ShareTaker(folder, stops, mixed))
        return fill(run, marks)


def open_for_shares(folder: Path, marks: Path) -> Path:
    with pytest.raises(SharesPause, match="words is open for shares, 4 batches"):
        take_over(folder, marks)
    (place,) = (folder / FOLDER).iterdir()
    return place


def count_begun(marks: Path) -> int:
    return sum(len(path.read_text()) for path in marks.glob("begun-*"))


def test_shares_together_are_all_batches_each_once():
    for count in (1, 3, 8, 20):
        shares = [WorkShare(number, count).take(11) for number in range(count)]
        assert [batch for share in shares for batch in share] == [*range(11)]


def test_shares_end_with_the_bytes_of_one_process(tmp_path, marks, whole):
    folder = tmp_path / "run"
    place = open_for_shares(folder, marks)
    assert "share 1/3 of words is computed" in compute(folder, marks, 1, 3)
    compute(folder, marks, 0, 3)
    compute(folder, marks, 2, 3)
    assert count_begun(marks) == len(ITEMS)
    compute(folder, marks, 2, 3)  # a second time: nothing is left
    stage = take_over(folder, marks)
    assert read_files(stage.folder) == whole
    assert count_begun(marks) == len(ITEMS)
    assert stage.manifest["execution"]["on"] == "shares"
    assert not place.exists()


@pytest.mark.parametrize("stops", [True, False])
def test_shards_that_are_missing_or_damaged_are_computed_by_the_writer(
    tmp_path, marks, whole, stops
):
    folder = tmp_path / "run"
    place = open_for_shares(folder, marks)
    compute(folder, marks, 0, 2)
    damaged = sorted(place.glob("part-*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert read_files(take_over(folder, marks, stops).folder) == whole
    assert count_begun(marks) == len(ITEMS) + 2


def test_writer_killed_between_two_commits_goes_on(tmp_path, marks, whole, monkeypatch):
    folder = tmp_path / "run"
    open_for_shares(folder, marks)
    compute(folder, marks, 0, 1)
    commit = Stage.commit_shard

    def deadly(self, path, *rest):
        if path.stem == "part-00003":
            raise MemoryError
        commit(self, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "commit_shard", deadly)
        with pytest.raises(MemoryError):
            take_over(folder, marks)
    assert read_files(take_over(folder, marks).folder) == whole
    assert count_begun(marks) == len(ITEMS)


@pytest.mark.bad_input("cluster", "shares from processors of two kinds", "refused, named")
def test_shares_of_two_devices_are_refused_unless_they_may_be(tmp_path, marks, whole, monkeypatch):
    folder = tmp_path / "run"
    open_for_shares(folder, marks)
    compute(folder, marks, 0, 2)
    monkeypatch.setattr("distill.workers.shares.describe_device", lambda: "another")
    compute(folder, marks, 1, 2)
    with pytest.raises(UserError, match="last digits differ"):
        take_over(folder, marks)
    assert read_files(take_over(folder, marks, mixed=True).folder) == whole


@pytest.mark.bad_input("cluster", "a share by another version of the program", "refused")
def test_share_by_another_program_is_refused(tmp_path, marks, monkeypatch):
    folder = tmp_path / "run"
    open_for_shares(folder, marks)
    monkeypatch.setattr("distill.workers.proof.hash_source", lambda: "other")
    with (
        Run(folder, workers=ShareWorkers(folder, WorkShare(0, 1))) as run,
        pytest.raises(UserError, match="distill's code other instead of"),
    ):
        fill(run, marks)


def test_share_begins_and_writes_nothing_of_the_run(tmp_path, marks):
    folder = tmp_path / "run"
    folder.mkdir()
    assert "words is not open for shares" in compute(folder, marks, 0, 1)
    assert list(folder.iterdir()) == []


@pytest.mark.bad_input("cluster", "a run is written while a share is computed", "refused")
def test_writer_and_shares_keep_apart(tmp_path):
    with Run(tmp_path):
        pass
    with lock_share(tmp_path, 0, 2), lock_share(tmp_path, 1, 2):
        with pytest.raises(UserError, match=r"share 0-of-2|share 1-of-2"), Run(tmp_path):
            pass
        with pytest.raises(UserError, match="another process"), lock_share(tmp_path, 0, 2):
            pass
    with pytest.raises(UserError, match="is not a run's folder"), lock_share(tmp_path / "x", 0, 1):
        pass


def test_shard_is_packed_with_all_that_belongs_to_it():
    shard = EncodedShard(b"rows\n", 2, Counter(kept=2), b"dropped", 1, {b"\0\xff": (0.1, 3)})
    assert unpack_shard(pack_shard(shard)) == shard
    without = EncodedShard(b"", 0, Counter(), None, 0, None)
    assert unpack_shard(pack_shard(without)) == without


@pytest.mark.bad_input("command", "a share that is none of its count", "refused")
@pytest.mark.parametrize("share", ["8/8", "1", "a/b", "-1/2"])
def test_share_that_is_none_of_its_count_is_refused(recipe_file, share):
    result = CliRunner().invoke(cli, ["run", str(recipe_file), "--shard", share])
    assert result.exit_code == 2
    assert "is no share: of eight they are 0/8 to 7/8" in result.output


@pytest.mark.bad_input("recipe", "shares, and a cluster of Ray", "refused")
def test_shares_are_not_for_ray(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["execution=ray"])
    with pytest.raises(UserError, match="workers of its own"):
        finish_shares(recipe, tmp_path / "run")


IN_PARTS = ("retriever.index_rows=4", "generate.filters.round_trip=12")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), IN_PARTS], ids=["whole", "by parts"])
def test_recipe_in_shares_has_the_tables_of_one_process(recipe_file, tmp_path, settings):
    recipe = load_recipe(recipe_file, settings)
    with Run(tmp_path / "here") as run:
        Job(run, recipe).relabel()
    folder, opened = tmp_path / "run", []
    while (words := finish_shares(recipe, folder)) is not None:
        opened.append(words.partition(" is open")[0])
        for number in range(2):
            assert "is computed" in compute_share(recipe, folder, number=number, count=2)
    assert {"generations", "judgements-ql"} <= set(opened)
    searches = {f"{stage}: search part by part" for stage in ("queries", "candidates")}
    assert searches & {*opened} == (searches if settings else set())
    assert len(opened) == len(set(opened))
    assert not any((folder / FOLDER).iterdir())
    here, made = read_tables(tmp_path / "here"), read_tables(folder)
    assert made.keys() == here.keys()
    assert [name for name in here if made[name] != here[name]] == []
    assert compute_share(recipe, folder, number=0, count=2).startswith("nothing is left")
