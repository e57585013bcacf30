"""Text files are read by a run's workers in groups, with the passages of one process, in whatever
order the groups come back."""

import os
from pathlib import Path

import pytest
from helpers.reversed_workers import ReversedWorkers
from helpers.text_folders import make_tables, make_text_recipe, write_bad_files, write_text_folder

from distill.corpus import early_results, reading
from distill.corpus.early_results import EarlyResults
from distill.corpus.reading import group_files, open_text_reader
from distill.corpus.sections.installed import read_reader_versions
from distill.errors import UserError
from distill.models.reference import identify_revision
from distill.recipe import Corpus
from distill.store.stage import open_stage
from distill.workers.local import LOCAL
from distill.workers.protocol import BatchResult


def write_sizes(folder: Path, sizes: dict[str, int]) -> list[Path]:
    for name, size in sizes.items():
        (folder / name).write_bytes(b"a" * size)
    return [folder / name for name in sizes]


def list_names(groups: list[list[Path]]) -> list[list[str]]:
    return [[file.name for file in group] for group in groups]


def test_groups_of_files_are_bounded_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_GROUP_BYTES", 100)
    monkeypatch.setattr(reading, "_GROUP_FILES", 3)
    sizes = {"a.md": 60, "b.md": 40, "c.md": 1, "d.md": 500, "e.md": 1, "f.md": 0, "g.md": 2}
    files = write_sizes(tmp_path, {**sizes, "h.md": 3})
    wanted = [["a.md", "b.md"], ["c.md"], ["d.md"], ["e.md", "f.md", "g.md"], ["h.md"]]
    assert list_names(group_files(files)) == wanted
    assert group_files([]) == []


def test_binary_documents_are_groups_of_their_own(tmp_path):
    files = write_sizes(tmp_path, {"a.md": 0, "b.pdf": 1, "c.docx": 1, "d.md": 1, "e.html": 1})
    assert list_names(group_files([*files, tmp_path / "gone.md"])) == [
        ["a.md"],
        ["b.pdf"],
        ["c.docx"],
        ["d.md", "e.html", "gone.md"],
    ]


@pytest.fixture(params=[1, 64 << 20], ids=["on disk", "in memory"])
def early_ones_lie(request, monkeypatch):
    monkeypatch.setattr(early_results, "_IN_MEMORY", request.param)


def test_groups_that_come_in_reverse_give_the_bytes_of_one_process(
    tmp_path, monkeypatch, early_ones_lie
):
    monkeypatch.setattr(reading, "_GROUP_FILES", 2)
    folder = write_bad_files(write_text_folder(tmp_path / "texts"))
    recipe = make_text_recipe(folder, unreadable="skip")
    here = make_tables(tmp_path / "here", recipe)
    workers = ReversedWorkers()
    there = make_tables(tmp_path / "there", recipe, workers)
    assert workers.sent == ["passages"]
    assert len(here) == 3
    assert here == there
    manifests = [open_stage(tmp_path / on / "passages").manifest for on in ("here", "there")]
    counts = manifests[0]["counts"]
    assert counts == manifests[1]["counts"]
    assert counts["dropped cannot be read as text"] == 2
    assert all(counts[name] for name in ("split", "dropped duplicate", "held out"))
    assert [manifest.get("execution") for manifest in manifests] == [None, {"on": "others"}]


def test_files_that_cannot_be_read_are_refused_in_the_words_of_one_process(tmp_path):
    folder = write_bad_files(write_text_folder(tmp_path / "texts"))
    refused = []
    for workers in (LOCAL, ReversedWorkers()):
        run = tmp_path / f"run {len(refused)}"
        with pytest.raises(UserError) as fault:
            make_tables(run, make_text_recipe(folder), workers)
        assert [path.name for path in run.iterdir()] == [".lock"]
        refused.append(str(fault.value))
    assert refused[0] == refused[1]
    assert "000-latin.md, row 1" in refused[0]
    assert "scan.pdf: holds no text" in refused[0]


def test_files_that_are_left_out_are_said_in_their_order(tmp_path, caplog):
    folder = write_bad_files(write_text_folder(tmp_path / "texts"))
    recipe = make_text_recipe(folder, unreadable="skip")
    said = []
    for workers in (LOCAL, ReversedWorkers()):
        caplog.clear()
        make_tables(tmp_path / f"run {len(said)}", recipe, workers)
        said.append(caplog.messages)
    assert said[0] == said[1]
    which = "2 files, cannot be read as text: part 0/000-latin.md row 1, part 1/scan.pdf"
    assert which in "\n".join(said[0])


@pytest.mark.bad_input("cluster", "a node without a reader of PDF files", "refused, named")
def test_worker_that_reads_files_by_other_programs_is_refused():
    versions = read_reader_versions([".pdf", ".md"])
    assert {"pypdf", "markdown-it-py"} <= versions.keys()
    assert not {"mammoth", "groff"} & versions.keys()
    assert read_reader_versions([".7"])["groff"]
    with open_text_reader(Corpus(), 1, True, versions, None) as opened:
        assert list(opened.work([])) == []
    other = versions | {"pypdf": "0.1", "a module that is not there": "2.0"}
    with pytest.raises(UserError) as fault:
        open_text_reader(Corpus(), 1, True, other, None).__enter__()
    assert fault.value.where.startswith("node ")
    assert f"pypdf {versions['pypdf']} instead of 0.1" in fault.value.what
    assert "that is not there none instead of 2.0" in fault.value.what
    assert "pip install -e '.[documents]'" in fault.value.remedy


@pytest.mark.bad_input("cluster", "a node with another `corpus.tokenizer`", "refused, named")
def test_worker_with_another_tokenizer_is_refused(encoder_folder, tmp_path):
    """It would cut other passages."""
    revision = identify_revision(str(encoder_folder))
    for folder, what in ((encoder_folder, "has another"), (tmp_path / "not here", "has no")):
        corpus = Corpus(tokenizer=str(folder))
        with pytest.raises(UserError) as fault:
            open_text_reader(corpus, 1, True, {}, f"not {revision}").__enter__()
        assert fault.value.where.startswith("node ")
        assert f"{what} corpus.tokenizer" in fault.value.what
    corpus = Corpus(tokenizer=str(encoder_folder))
    with open_text_reader(corpus, 1, True, {}, revision) as opened:
        assert list(opened.work([])) == []


def test_early_results_leave_their_file_empty_when_all_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(early_results, "_IN_MEMORY", 1)
    with EarlyResults(tmp_path) as early:
        for number in (3, 1):
            early[number] = BatchResult(number, [], float(number))
        assert 3 in early
        assert 2 not in early
        assert [early.pop(number).seconds for number in (1, 3)] == [1.0, 3.0]
        assert early._file.seek(0, os.SEEK_END) == 0
