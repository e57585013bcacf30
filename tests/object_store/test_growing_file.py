"""Vectors that are computed for hours are in the run's store part by part: a machine that is lost
takes no more with it than the last part."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.fresh_process import FreshProcess
from helpers.in_memory import make_in_memory_encoder

from distill.embed.vectors import vector_store
from distill.object_store import lease
from distill.object_store.mirror import open_mirror
from distill.store.run import Run
from distill.store.stage import ShardResult
from distill.store.tables import DROPPED

STORE = "s3://bucket/runs/mine"
TEXTS = [f"text {number} of many words" for number in range(30)]
CHUNKS_BEFORE = 5


PART_BYTES = 8 * make_in_memory_encoder().dimensions * 4


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Chunks of four texts, which are copied in parts of two chunks."""
    monkeypatch.setattr(vector_store, "CHUNK", 4)
    monkeypatch.setattr(vector_store, "_PART_BYTES", PART_BYTES)


def make_vectors(run: Run) -> vector_store.VectorStore:
    encoder = make_in_memory_encoder()
    ids = [f"t{number}" for number in range(len(TEXTS))]
    of = (encoder, "document", ids, TEXTS, "embed texts")
    return vector_store.embed(run.folder / "vectors", *of, mirror=run.mirror)


def make_stage(run: Run) -> None:
    stage = run.open_stage("words", {})
    stage.map_shards(DROPPED, ["one"], lambda item: ShardResult([]))
    stage.finish()


def _embed_and_lose_power(folder: Path) -> None:
    vector_store.CHUNK, vector_store._PART_BYTES = 4, PART_BYTES
    lease.TAKEN_OVER_AFTER, lease.RENEWED_EVERY = 1.0, 0.2
    record, left = vector_store.record_chunk, [CHUNKS_BEFORE]

    def record_or_end(*given) -> None:
        record(*given)
        left[0] -= 1
        if not left[0]:
            run.mirror._uploads.drain()
            os.kill(os.getpid(), signal.SIGKILL)

    vector_store.record_chunk = record_or_end
    with Run(folder) as run, open_mirror(folder, STORE) as run.mirror:
        make_vectors(run)


def test_run_with_a_relative_folder_copies_its_vectors(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("artifacts") / "mine"
    with Run(folder) as run, open_mirror(folder, STORE) as run.mirror:
        vectors = make_vectors(run)
        run.mirror._uploads.drain()
        parts = [name for name in server.list_names("runs/mine") if ".parts/" in name]
    assert len(parts) == 3
    whole = f"vectors/{vectors.folder.name}/vectors.npy"
    assert server.read_objects("runs/mine")[whole] == Path(folder, whole).read_bytes()


def test_vectors_that_are_not_whole_are_in_the_store_in_parts_alone(server, tmp_path, monkeypatch):
    """Also where the job ends by an error, or copies what workers read: in the store a whole file
    is one that is complete."""
    folder, record, left = tmp_path / "run", vector_store.record_chunk, [CHUNKS_BEFORE]

    def record_or_end(*given) -> None:
        record(*given)
        left[0] -= 1
        if not left[0]:
            run.mirror.copy_for_workers()
            raise MemoryError

    monkeypatch.setattr(vector_store, "record_chunk", record_or_end)
    with (
        pytest.raises(MemoryError),
        Run(folder) as run,
        open_mirror(folder, STORE) as run.mirror,
    ):
        make_vectors(run)
    names = server.list_names("runs/mine")
    assert not [name for name in names if name.endswith("/vectors.npy")]
    assert len([name for name in names if ".parts/" in name]) == CHUNKS_BEFORE // 2
    monkeypatch.undo()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(vector_store, "CHUNK", 4)
    monkeypatch.setattr(vector_store, "_PART_BYTES", PART_BYTES)
    server.requests.clear()
    with Run(folder) as run, open_mirror(folder, STORE) as run.mirror:  # on the same machine
        make_vectors(run)
    fetched = [path for method, path in server.requests if method == "GET" and ".parts/" in path]
    assert fetched == []
    assert [name for name in server.list_names("runs/mine") if name.endswith("/vectors.npy")]
    assert not [name for name in server.list_names("runs/mine") if ".parts/" in name]


@pytest.mark.slow
def test_vectors_of_a_machine_that_is_lost_are_taken_from_the_store(
    server, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(lease, "TAKEN_OVER_AFTER", 1.0)
    folder = tmp_path / "run"
    lost = FreshProcess(tmp_path / "lost", _embed_and_lose_power, folder).wait()
    assert lost.returncode == -signal.SIGKILL
    parts = [name for name in server.list_names("runs/mine") if ".parts/" in name]
    assert len(parts) == CHUNKS_BEFORE // 2
    shutil.rmtree(folder)

    computed = []
    record = vector_store.record_chunk
    monkeypatch.setattr(
        vector_store, "record_chunk", lambda *of: computed.append(of[1]) or record(*of)
    )
    caplog.set_level("INFO")
    with Run(folder) as run, open_mirror(folder, STORE) as run.mirror:
        made = make_vectors(run)
        assert "16 of 30 vectors are taken from the run's store" in caplog.text
        assert sorted(computed) == [0, 1, 2, 3, 4, 5, 6, 7]  # the first four from the parts
        make_stage(run)
    with Run(tmp_path / "whole") as run:
        whole = make_vectors(run)
    assert np.array_equal(made.vectors, whole.vectors)
    for name in ("vectors.npy", "ids.json", "checksums.txt", "done.json"):
        assert (made.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    stored = server.list_names("runs/mine")
    assert not [name for name in stored if ".parts/" in name]  # the whole file is there
    assert [name for name in stored if name.endswith("/vectors.npy")]
    assert not list(folder.rglob("*.parts"))


def test_parts_beyond_the_file_or_of_other_bytes_are_computed_anew(tmp_path):
    """What was copied by another version, or cut, is no reason to end with other vectors."""
    with Run(tmp_path / "whole") as run:
        whole = make_vectors(run)
    folder = tmp_path / "run" / "vectors" / whole.folder.name
    parts = folder / "vectors.npy.parts"
    parts.mkdir(parents=True)
    content = (whole.folder / "vectors.npy").read_bytes()
    head, row = whole.vectors.offset, whole.vectors.strides[0]
    (parts / f"{head:020d}").write_bytes(content[head : head + 8 * row])
    (parts / f"{head + 16 * row:020d}").write_bytes(content[head + 16 * row : head + 18 * row])
    (parts / f"{len(content) - 4:020d}").write_bytes(b"beyond the end")
    with Run(tmp_path / "run") as run:
        made = make_vectors(run)
    assert np.array_equal(made.vectors, whole.vectors)
    assert not parts.exists()
