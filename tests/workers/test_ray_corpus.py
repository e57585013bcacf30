"""A folder of text files that the workers of a Ray cluster read: the passages of one process,
whichever node is lost, and its words where files cannot be read."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.fresh_process import run_distill
from helpers.ray_work import SmallCluster
from helpers.text_folders import make_tables, make_text_recipe, write_bad_files, write_text_folder

from distill.corpus import gather, reading
from distill.errors import UserError
from distill.store.stage import open_stage

pytestmark = pytest.mark.slow


@pytest.fixture
def files_go_alone(monkeypatch):
    monkeypatch.setattr(reading, "_GROUP_FILES", 1)


def test_node_killed_while_a_folder_is_read_gives_the_bytes_of_one_process(
    cluster, files_go_alone, tmp_path, monkeypatch
):
    folder = write_bad_files(write_text_folder(tmp_path / "texts", files=36))
    recipe = make_text_recipe(folder, unreadable="skip")
    here = make_tables(tmp_path / "here", recipe)
    take, killed = gather._Draft.take, []
    workers = cluster.make_workers(tmp_path / "there")

    def take_and_kill(draft, document):
        take(draft, document)
        busy = [handle.identity.pid for handle in workers.handles if handle.batches]
        if busy and not killed:
            killed.append(busy[0])
            cluster.kill_node(busy[0])
            cluster.add_node()

    monkeypatch.setattr(gather._Draft, "take", take_and_kill)
    there = make_tables(tmp_path / "there", recipe, workers)
    assert killed
    assert len(here) == 3
    assert here == there
    before, after = (open_stage(tmp_path / on / "passages").manifest for on in ("here", "there"))
    assert before["counts"] == after["counts"]
    assert after["execution"]["on"] == "ray"
    assert after["execution"]["workers_lost"] >= 1


@pytest.mark.bad_input("cluster", "text files that cannot be read", "refused as in one process")
def test_files_that_cannot_be_read_on_a_cluster_are_refused_as_in_one_process(cluster, tmp_path):
    folder = write_bad_files(write_text_folder(tmp_path / "texts"))
    recipe = tmp_path / "texts.yaml"
    recipe.write_text(f"name: texts\ncorpus: {{source: auto, path: '{folder}'}}\n")
    said = []
    for on in ("{mode: local}", f"{{mode: ray, address: '{cluster.address}'}}"):
        run = tmp_path / f"run {len(said)}"
        words = ["corpus", str(recipe), "--run", str(run), "--set", f"execution={on}"]
        done = run_distill(*words, "--quiet", COLUMNS="400")  # progress has lines by the clock
        assert done.returncode == 2, done.stderr
        assert not (run / "passages").exists()
        assert not [path for path in run.iterdir() if path.name.endswith(".part")]
        said.append(done.stderr)
    assert "000-latin.md, row 1" in said[0]
    assert said[0] == said[1]


def test_cluster_of_this_machine_is_a_new_one_whatever_others_there_are(tmp_path):
    """Ray's environment variable names another one, which does not answer."""
    folder = write_text_folder(tmp_path / "texts", files=6)
    recipe = tmp_path / "texts.yaml"
    recipe.write_text(f"name: texts\ncorpus: {{source: auto, path: '{folder}'}}\n")
    run = tmp_path / "run"
    words = ["corpus", str(recipe), "--run", str(run)]
    words += ["--set", "execution={mode: ray, address: local}"]
    done = run_distill(*words, RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert open_stage(run / "passages").manifest["execution"]["on"] == "ray"


def use_node(cluster: SmallCluster, tmp_path: Path, folder: Path, **environment: str) -> UserError:
    """Read a folder on a single node with these environment variables; the error that it gives."""
    cluster.kill_node()
    cluster.kill_node()
    cluster.add_node(**environment)
    try:
        workers = cluster.make_workers(tmp_path / "run", tries=2)
        with pytest.raises(UserError) as refused:
            make_tables(tmp_path / "run", make_text_recipe(folder), workers)
    finally:
        cluster.kill_node()
        cluster.add_node()
        cluster.add_node()
    assert not (tmp_path / "run" / "passages").exists()
    return refused.value


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.bad_input("cluster", "a file whose reading ends each worker", "refused by its name")
def test_file_that_ends_its_worker_each_time_is_named(cluster, files_go_alone, tmp_path):
    folder = write_text_folder(tmp_path / "texts", files=4)
    (folder / "dance.7").write_text(".TH DANCE 7\n.SH NAME\ndance \\- tell where flowers are\n")
    groff = tmp_path / "bin" / "groff"
    groff.parent.mkdir()
    real = f'if [ "$1" = --version ]; then exec {shutil.which("groff")} --version; fi'
    groff.write_text(f"#!/bin/sh\n{real}\nkill -9 $PPID\n")
    groff.chmod(0o755)
    path = os.pathsep.join([str(groff.parent), os.environ["PATH"]])
    refused = use_node(cluster, tmp_path, folder, PATH=path)
    assert refused.where == f"stage passages, batch 0 ({folder / 'dance.7'})"
    assert "failed 2 times" in refused.what
    assert "take the file out of the corpus" in refused.remedy


@pytest.mark.bad_input("cluster", "a node with another version of a reader", "refused, named")
def test_node_with_another_reader_of_pdf_files_is_refused(cluster, tmp_path):
    folder = write_text_folder(tmp_path / "texts", files=4)
    library = tmp_path / "library" / "pypdf-0.1.dist-info"
    library.mkdir(parents=True)
    (library / "METADATA").write_text("Metadata-Version: 2.1\nName: pypdf\nVersion: 0.1\n")
    found_first = os.pathsep.join([str(library.parent), os.environ["PYTHONPATH"]])
    refused = use_node(cluster, tmp_path, folder, PYTHONPATH=found_first)
    assert refused.where.startswith("node ")
    assert "pypdf 0.1 instead of " in refused.what
    assert "pip install -e '.[documents]'" in refused.remedy
