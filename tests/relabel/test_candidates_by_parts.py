"""Candidates of a corpus that is searched part by part are those of a search of the whole, byte for
byte, also where the process is killed between any two commits or files are damaged meanwhile."""

from types import SimpleNamespace

import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.query_rows import make_filter_recipe
from helpers.tiny_models import TEXTS
from helpers.written_files import read_files

from distill.generate.filters.candidate import attach_passages
from distill.generate.filters.round_trip import DrawBatch, SeedSearch
from distill.relabel.candidates import make_candidates
from distill.retrieve.dense import by_parts, part_work
from distill.retrieve.exact import ExactIndex
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import QUERIES

ASKED = [(f"p{n}", " ".join(text.split()[2:6])) for n, text in enumerate(TEXTS)]
TEACHER = {"dtype": "float32", "max_tokens": 8}


@pytest.fixture
def make(tmp_path, encoder_folder, monkeypatch):
    """The files of candidates by a retriever with these settings, and the run."""
    monkeypatch.setattr("distill.relabel.candidates._FEWEST_CALLS", 1)

    def work(name="run", teacher=False, filtered=False, **settings):
        model = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
        given = model | {"query_template": "{task} {query}"} | settings
        made = make_filter_recipe(
            retriever=given,
            teacher=model | TEACHER,
            relabel={"top_k": 3, "shard_size": 2},
        )
        rule = made.relabel.model_copy(update={"similarity_by": "teacher"})
        with Run(tmp_path / name) as run:
            passages, queries = make_numbered_passages(run, len(TEXTS)), make_queries(run)
            if filtered:
                draws = attach_passages(queries.read_rows(QUERIES), PassageReader(passages.folder))
                search = SeedSearch(run, made.retriever, passages, 2, keeps=3)
                search.search(DrawBatch(draws))
            stage = make_candidates(
                run,
                made.retriever,
                rule,
                passages,
                queries,
                made.teacher if teacher else None,
            )
        assert not list(stage.metadata_dir.glob("search*"))
        return SimpleNamespace(files=read_files(stage.folder), stage=stage)

    return work


def make_queries(run: Run) -> Stage:
    keys = ("query_id", "seed_id", "task", "task_type", "query", "persona", "llm")
    rows = [
        dict(zip(keys, (f"q{n}", seed, "Find it.", "search", query, None, "x"), strict=True))
        for n, (seed, query) in enumerate(ASKED)
    ]
    stage = run.open_stage("queries", {})
    stage.map_shards(QUERIES, [rows[:4], rows[4:]], ShardResult)
    stage.finish()
    return stage


@pytest.fixture
def searched(monkeypatch) -> list[tuple[int, int]]:
    """(passages, queries) of each exact search."""
    calls, search = [], ExactIndex.search

    def count(self, queries, k):
        calls.append((len(self.vectors), len(queries)))
        return search(self, queries, k)

    monkeypatch.setattr(ExactIndex, "search", count)
    return calls


commit_shard = Stage.commit_shard


def end_in_candidates(stage: Stage, *given):
    if stage.name == "candidates":
        raise MemoryError
    commit_shard(stage, *given)


BOTH = ["dense", "bm25"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"index": "faiss-flat"},
        {"sources": BOTH},
        {"sources": BOTH, "merge": "union", "teacher": True},
        {"teacher": True},
    ],
    ids=str,
)
def test_candidates_by_parts_are_those_of_the_whole(make, settings):
    pytest.importorskip("faiss")
    whole = make("whole", **settings)
    for rows in (5, 1, 11):
        assert make(f"parts of {rows}", index_rows=rows, **settings).files == whole.files


def test_each_part_is_searched_once_for_all_queries(make, searched):
    make(index_rows=5)
    assert searched == [(4, len(ASKED))] * 3


@pytest.mark.parametrize("function", ["write_arrays", "commit_shard"])
def test_search_that_was_killed_goes_on_where_it_was(
    make, searched, tmp_path, monkeypatch, function
):
    monkeypatch.setattr("distill.relabel.candidates._choose_together", lambda *_: 2)
    whole = make("whole")
    searched.clear()
    place = by_parts if function == "write_arrays" else Stage
    work, left = getattr(place, function), [0]

    def end_between_commits(*given):
        if left[0] == 0:
            raise MemoryError
        left[0] -= 1
        work(*given)

    monkeypatch.setattr(place, function, end_between_commits)
    for commits in range(14):
        left[0] = commits % 3
        try:
            left[0] += 1
            made = make(index_rows=5)
            break
        except MemoryError:
            continue
    assert commits > 2
    assert made.files == whole.files
    lost = commits if function == "write_arrays" else 0
    assert 9 <= len(searched) <= 9 + lost  # three groups in three parts


@pytest.mark.bad_input(
    "damage", "what was found in parts of the corpus", "those queries are searched again"
)
@pytest.mark.parametrize("kind", ["best", "queries"])
@pytest.mark.parametrize("damage", ["cut", "another file", "a flipped bit"])
def test_damaged_files_of_a_search_are_made_again(make, tmp_path, monkeypatch, kind, damage):
    whole = make("whole")
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "commit_shard", end_in_candidates)
        with pytest.raises(MemoryError):
            make(index_rows=5)
    (path,) = (tmp_path / "run/candidates/.stage").glob(f"search/*/{kind}-*.npz")
    content = bytearray(path.read_bytes())
    content[100] ^= 4  # of the first array
    damaged = {"cut": b"", "another file": b"PK\x03\x04 nothing", "a flipped bit": bytes(content)}
    path.write_bytes(damaged[damage])
    assert make(index_rows=5).files == whole.files


def test_other_parts_begin_a_search_anew(make, monkeypatch):
    whole = make("whole")
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "commit_shard", end_in_candidates)
        with pytest.raises(MemoryError):
            make(index_rows=5)
    assert make(index_rows=3).files == whole.files


def test_queries_that_a_filter_has_searched_are_not_searched_in_any_part(
    make, searched, monkeypatch
):
    monkeypatch.setattr("distill.retrieve.dense.search_cache._MIN_PASSAGES", 3)
    whole = make("whole")
    made = make(filtered=True, index_rows=5)
    assert made.files == whole.files
    assert searched == [(len(TEXTS), len(ASKED))] * 2  # of the whole, and of the filter


def test_machine_without_the_recipes_gpu_searches_on_its_processor(make, monkeypatch):
    whole = make("whole")
    monkeypatch.setattr(part_work, "has_device", lambda device: False)
    assert make(index_rows=5).files == whole.files
