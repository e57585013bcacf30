"""Stages that a signal stops: what is in flight is finished, and the next run goes on."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.ray_work import PATIENCE, wait_until
from helpers.stage_work import ITEMS, fill_stage, read_content

from distill.errors import UserError
from distill.runtime.interrupt import SECONDS_AFTER_SIGTERM
from distill.store.stage import ShardResult

CHILD = """
import signal, sys, time
from contextlib import nullcontext
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest runs in background
from distill import cli
from distill.store.stage import ShardResult
from distill.workers.protocol import OpenWork, WorkerNeeds
from distill.store.run import Run
from distill.store.tables import DROPPED

folder = Path(sys.argv.pop(1))

def work(item):
    (folder / f"began-{item}").touch()
    while not (folder / f"end-{item}").exists():
        time.sleep(0.01)
    return ShardResult([{"item_id": item, "reason": "test", "text": item.upper()}])

@cli.cli.command()
def words():
    with Run(folder / "run") as run:
        stage = run.open_stage("words", {})
        stage.map_shards(DROPPED, ["one", "two", "three"], work)
        stage.finish()

cli.main()
"""


PATIENT = """
from distill.runtime import interrupt

interrupt.SECONDS_AFTER_SIGTERM = 600.0  # what is in flight may end on a busy machine, too
"""


class Child:
    """The command line in a process of its own, on three shards that end when they are told to."""

    def __init__(self, folder: Path, script: str = CHILD) -> None:
        self.folder = folder
        self.script = script
        self.shards = folder / "run" / "words"
        folder.mkdir(exist_ok=True)

    def __enter__(self) -> "Child":
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.script, str(self.folder), "words"],
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *fault: object) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for_beginning(self, item: str) -> None:
        begun = self.folder / f"began-{item}"
        wait_until(lambda: begun.exists() or self.process.poll() is not None)
        assert begun.exists()

    def end(self, *items: str) -> None:
        for item in items:
            (self.folder / f"end-{item}").touch()

    def signal_and_see(self, number: int) -> None:
        self.process.send_signal(number)
        line = self.process.stderr.readline()
        while "finishing the rows in flight" not in line:
            assert line
            line = self.process.stderr.readline()

    def ending(self) -> tuple[int, str]:
        said = self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_shard_in_flight_is_finished_and_the_next_run_goes_on(tmp_path, number):
    with Child(tmp_path / "cut", PATIENT + CHILD) as cut:
        cut.end("one")
        cut.wait_for_beginning("two")
        cut.signal_and_see(number)
        cut.end("two")
        code, said = cut.ending()
        assert code == 130
        assert "the same command continues" in said
        assert "Traceback" not in said
        assert list(read_content(cut.shards)) == ["part-00000.parquet", "part-00001.parquet"]
        assert not (cut.folder / "began-three").exists()
    with Child(tmp_path / "cut") as again:
        again.end("three")
        assert again.ending()[0] == 0
    with Child(tmp_path / "whole") as whole:
        whole.end(*ITEMS)
        assert whole.ending()[0] == 0
    assert read_content(again.shards) == read_content(whole.shards)
    assert len(read_content(whole.shards)) == 3


def test_second_ctrl_c_does_not_wait(tmp_path):
    with Child(tmp_path / "cut") as cut:
        cut.end("one")
        cut.wait_for_beginning("two")
        cut.signal_and_see(signal.SIGINT)
        cut.process.send_signal(signal.SIGINT)
        code, said = cut.ending()
        assert code == 130
        assert "Traceback" not in said
        assert list(read_content(cut.shards)) == ["part-00000.parquet"]


def test_signal_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def breaks(item: str) -> ShardResult:
        raise UserError(item, "breaks", "mend it")

    with pytest.raises(UserError):
        fill_stage(tmp_path / "broken", {}, work=breaks)
    fill_stage(tmp_path / "whole", {})
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_stage_may_run_outside_the_main_thread(tmp_path):
    thread = threading.Thread(target=fill_stage, args=(tmp_path, {}))
    thread.start()
    thread.join()
    assert len(read_content(tmp_path / "words")) == 3


@pytest.mark.bad_input("kills", "SIGTERM while a shard takes long", "exits within ten seconds")
def test_sigterm_does_not_wait_long_for_work_in_flight(tmp_path):
    with Child(tmp_path / "cut") as cut:
        cut.wait_for_beginning("one")
        cut.signal_and_see(signal.SIGTERM)
        code, said = cut.ending()  # though nothing ends the shard
        assert code == 143
        assert SECONDS_AFTER_SIGTERM < 10
        assert "same command continues" in said
        assert not read_content(cut.shards)
    with Child(tmp_path / "cut") as again:
        again.end(*ITEMS)
        assert again.ending()[0] == 0
        assert len(read_content(again.shards)) == 3


IN_C = """
import hashlib
from distill.runtime import interrupt

interrupt.SECONDS_AFTER_SIGTERM = 1.0

def work(item):
    (folder / f"began-{item}").touch()
    if item == "two" and not (folder / "end-two").exists():
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    return ShardResult([{"item_id": item, "reason": "test", "text": item.upper()}])

cli.main()
"""


@pytest.mark.bad_input("kills", "SIGTERM while a library computes", "exits within ten seconds")
def test_sigterm_ends_a_process_whose_library_does_not_look_at_signals(tmp_path):
    script = CHILD.replace("cli.main()\n", "") + IN_C
    with Child(tmp_path, script) as cut:
        cut.wait_for_beginning("two")
        cut.process.send_signal(signal.SIGTERM)
        code, said = cut.ending()
        assert code == 143
        assert "same command continues" in said
        assert list(read_content(cut.shards)) == ["part-00000.parquet"]
    with Child(tmp_path, script) as again:
        again.end("two")
        assert again.ending()[0] == 0
        assert len(read_content(again.shards)) == 3
