"""Candidates are the nearest passages of each query, shard by shard, and the seed in any case."""

import json

import numpy as np
import pytest
from helpers.fake_llm import make_numbered_passages
from helpers.passages import make_passages
from helpers.query_rows import make_filter_recipe
from helpers.tiny_models import TEXTS
from helpers.written_files import read_files

from distill.errors import UserError
from distill.generate.filters.candidate import attach_passages
from distill.generate.filters.round_trip import DrawBatch, SeedSearch
from distill.relabel.candidates import make_candidates
from distill.retrieve.corpus_index import open_encoder
from distill.retrieve.exact import ExactIndex
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult
from distill.store.tables import CANDIDATES, QUERIES, read_shard

TASK = "Find the passage."
ASKED = [(f"p{n}", " ".join(text.split()[2:6])) for n, text in enumerate(TEXTS)]


def query_row(number, seed, query):
    keys = ("query_id", "seed_id", "task", "task_type", "query", "persona", "llm")
    return dict(zip(keys, (f"q{number}", seed, TASK, "search", query, None, "x"), strict=True))


def queries_of(run, asked):
    """A stage of queries in two shards, the first of four."""
    rows = [query_row(number, *one) for number, one in enumerate(asked)]
    stage = run.open_stage("queries", {"asked": asked})
    stage.map_shards(QUERIES, [rows[:4], rows[4:]], ShardResult)
    stage.finish()
    return stage


@pytest.fixture
def make(tmp_path, encoder_folder):
    """Candidates by a retriever with these settings; a stage, read from a run of its own name."""

    def work(top_k=3, shard_size=5, name="run", asked=ASKED, teacher=None, **settings):
        given = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32} | settings
        given.setdefault("query_template", "{task} {query}")
        made = make_filter_recipe(
            retriever=given, relabel={"top_k": top_k, "shard_size": shard_size}
        )
        with Run(tmp_path / name) as run:
            passages = make_numbered_passages(run, len(TEXTS))
            return make_candidates(
                run, made.retriever, made.relabel, passages, queries_of(run, asked), teacher
            )

    return work


@pytest.fixture
def products(encoder_folder):
    """(queries, passages) inner products."""
    settings = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    encoder = open_encoder(make_filter_recipe(retriever=settings).retriever)
    queries = encoder.encode([f"{TASK} {query}" for _, query in ASKED], "query")
    return queries @ encoder.encode(TEXTS, "document").T


def by_query(stage):
    found = {f"q{n}": [] for n in range(len(ASKED))}
    for row in stage.read_rows(CANDIDATES):
        found[row["query_id"]].append(row)
    return list(found.values())


def test_candidates_are_the_nearest_and_the_seed_in_any_case(make, products):
    """Every other query is of the passage that is furthest from it."""
    seeds = [int((row.argmax, row.argmin)[n % 2]()) for n, row in enumerate(products)]
    asked = [(f"p{seed}", query) for seed, (_, query) in zip(seeds, ASKED, strict=True)]
    stage = make(asked=asked)
    for number, (seed, rows) in enumerate(zip(seeds, by_query(stage), strict=True)):
        best = np.argsort(-products[number])[:3].tolist()
        best += [] if seed in best else [seed]
        assert len(best) == 3 + number % 2
        assert [row["passage_id"] for row in rows] == [f"p{n}" for n in best]
        assert [row["rank"] for row in rows] == [1, 2, 3, None][: len(best)]
        similarities = [row["similarity"] for row in rows]
        np.testing.assert_allclose(similarities, products[number, best], atol=1e-5)
    assert stage.manifest["counts"] == {"seed not retrieved": 6, "seed retrieved": 6}
    assert "figures" not in stage.manifest  # the index is exact


def test_shard_holds_its_queries_whatever_shards_they_came_in(make):
    stage = make(shard_size=5)
    held = [
        [row["query_id"] for row in read_shard(CANDIDATES, p)] for p in list_shards(stage.folder)
    ]
    expected = [range(0, 5), range(5, 10), range(10, 12)]
    assert [list(dict.fromkeys(ids)) for ids in held] == [[f"q{n}" for n in r] for r in expected]


IN_PARTS = {"index": "IVF2,Flat", "effort": 1, "index_rows": 5}


@pytest.mark.parametrize(
    "settings", [{}, IN_PARTS, {**IN_PARTS, "sources": ["dense", "bm25"]}], ids=str
)
def test_shards_that_are_searched_at_once_have_the_same_bytes(make, monkeypatch, settings):
    """And each part of an index is loaded once for all queries."""
    faiss = pytest.importorskip("faiss")
    loads, read = [], faiss.read_index
    monkeypatch.setattr(faiss, "read_index", lambda path: loads.append(path) or read(path))
    one_by_one = make(shard_size=2, **settings)
    parts, loads_one_by_one = len(set(loads)), len(loads)
    loads.clear()
    monkeypatch.setattr("distill.relabel.candidates._FEWEST_CALLS", 1)
    at_once = make(shard_size=2, name="at once", **settings)
    assert read_files(at_once.folder) == read_files(one_by_one.folder)
    assert len(read_files(at_once.folder)) == -(-len(ASKED) // 2)
    if settings:  # and once more, to measure the recall
        assert parts == 3
        assert len(loads) == loads_one_by_one == 2 * parts


def test_lost_shard_is_made_again_with_the_same_bytes(make):
    paths = list_shards(make().folder)
    before = paths[1].read_bytes()
    paths[1].unlink()
    manifest = paths[0].parent / ".stage" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    make()
    assert paths[1].read_bytes() == before


def test_candidates_of_fewer_passages_than_asked(make):
    for rows in by_query(make(top_k=40)):
        assert [row["rank"] for row in rows] == list(range(1, len(TEXTS) + 1))


@pytest.mark.parametrize("settings", [{"index": "faiss-flat"}, {"index_rows": 5}])
def test_exact_indexes_give_the_same_bytes_and_fingerprint(make, settings):
    pytest.importorskip("faiss")
    plain, other = make(), make(name="other", **settings)
    assert plain.fingerprint == other.fingerprint
    for a, b in zip(list_shards(plain.folder), list_shards(other.folder), strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_approximate_index_has_its_recall_measured(make):
    pytest.importorskip("faiss")
    all_lists = make(index="IVF4,Flat", effort=4)
    assert all_lists.manifest["figures"] == {"recall_at_k": 1.0, "k": 3}
    one_list = make(name="one", shard_size=len(ASKED), index="IVF4,Flat", effort=1)
    hits = sum(
        row["rank"] is not None and row["passage_id"] in {e["passage_id"] for e in nearest[:3]}
        for rows, nearest in zip(by_query(one_list), by_query(make(name="exact")), strict=True)
        for row in rows
    )
    assert one_list.manifest["figures"]["recall_at_k"] == pytest.approx(hits / 3 / len(ASKED))


def test_index_that_finds_too_few_leaves_it_at_that(make):
    pytest.importorskip("faiss")
    stage = make(top_k=len(TEXTS), index="IVF4,Flat", effort=1)
    for rows in by_query(stage):
        ranks = [row["rank"] for row in rows if row["rank"] is not None]
        assert ranks == list(range(1, len(ranks) + 1))
        assert len(ranks) < len(TEXTS)


def test_bm25_finds_the_seed_whose_words_the_query_repeats(make):
    stage = make(sources=["bm25"])
    assert stage.manifest["counts"]["seed retrieved"] == len(ASKED)
    for number, rows in enumerate(by_query(stage)):
        assert rows[0]["passage_id"] == f"p{number}"
        scores = [row["similarity"] for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) > 0
        assert max(scores) > 1  # no cosine


def test_union_holds_the_first_of_each_source_with_a_similarity_of_all(make, products):
    dense, bm25 = by_query(make()), by_query(make(name="bm25", sources=["bm25"]))
    union = by_query(make(name="union", sources=["dense", "bm25"], merge="union"))
    larger = 0
    for number, rows in enumerate(union):
        retrieved = {row["passage_id"] for row in rows if row["rank"] is not None}
        assert retrieved == {
            row["passage_id"] for row in dense[number] + bm25[number] if row["rank"] is not None
        }
        larger += len(retrieved) > 3
        for row in rows:
            cosine = products[number, int(row["passage_id"].removeprefix("p"))]
            assert row["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert larger


def test_seed_without_the_querys_words_has_a_bm25_score_of_zero(make):
    asked = [("p0", "zebra"), ("p1", "copper zebra")]
    none, one = by_query(make(sources=["bm25"], asked=asked))[:2]
    assert [(row["passage_id"], row["rank"], row["similarity"]) for row in none] == [
        ("p0", None, 0)
    ]
    assert [(row["passage_id"], row["rank"]) for row in one] == [("p1", 1)]


def test_fused_candidates_have_cosines_and_come_from_both(make, products):
    dense, bm25 = by_query(make()), by_query(make(name="bm25", sources=["bm25"]))
    fused = by_query(make(name="fused", sources=["dense", "bm25"], fusion_k=0))
    from_bm25_alone = 0
    for number, rows in enumerate(fused):
        found = [row["passage_id"] for row in rows]
        # With a constant of 0 nothing outweighs a first rank but another first rank.
        assert {dense[number][0]["passage_id"], bm25[number][0]["passage_id"]} <= set(found)
        from_bm25_alone += bool(set(found) - {row["passage_id"] for row in dense[number]})
        cosines = [products[number, int(id_[1:])] for id_ in found]
        np.testing.assert_allclose([row["similarity"] for row in rows], cosines, atol=1e-5)
    assert from_bm25_alone


def test_query_encoder_searches_what_its_teacher_embeds(make, encoder_folder):
    teacher = make_filter_recipe(
        teacher={"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    ).teacher
    plain, routed = make(), make(name="routed", teacher=teacher)
    assert plain.fingerprint != routed.fingerprint
    assert by_query(plain) == by_query(routed)  # the same model on both sides
    # Documents of four tokens are others; the queries are the same.
    short = make(name="short", teacher=teacher.model_copy(update={"max_tokens": 4}))
    assert by_query(plain) != by_query(short)


@pytest.mark.bad_input("text", "queries of which BM25 finds nothing", "said, with how many")
def test_queries_that_find_nothing_are_reported(make, caplog):
    asked = [*ASKED[:1], ("p1", "zebra")]
    stage = make(asked=asked, sources=["bm25"])
    assert stage.manifest["counts"]["nothing retrieved"] == 1
    assert "1 of 2 queries share no word" in caplog.text


@pytest.mark.bad_input("corpus", "fewer passages than relabel.top_k", "said, with the remedy")
def test_corpus_smaller_than_top_k_is_said(make, caplog):
    stage = make(top_k=50)
    assert all(len(rows) == len(TEXTS) for rows in by_query(stage))
    assert "fewer than relabel.top_k (50)" in caplog.text
    assert "lower relabel.top_k" in caplog.text


@pytest.mark.bad_input("corpus", "one passage", "refused before anything is judged")
def test_corpus_of_one_passage_is_refused(tmp_path, encoder_folder):
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    with Run(tmp_path / "run") as run:
        passages, queries = make_numbered_passages(run, 1), queries_of(run, [("p0", "bees")])
        settings = make_filter_recipe(retriever=retriever)
        with pytest.raises(UserError, match="holds one passage"):
            make_candidates(run, settings.retriever, settings.relabel, passages, queries)


@pytest.mark.bad_input("corpus", "duplicates alone", "refused, the duplicates named")
def test_corpus_of_duplicates_alone_is_refused_by_that_name(tmp_path, encoder_folder):
    path = tmp_path / "same.jsonl"
    rows = [{"id": f"p{n}", "text": TEXTS[0]} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    retriever = {"model": str(encoder_folder), "device": "cpu", "max_tokens": 32}
    settings = make_filter_recipe(
        retriever=retriever, corpus={"source": "jsonl", "path": str(path)}
    )
    with Run(tmp_path / "run") as run:
        passages = make_passages(run, settings.corpus, settings.seed)
        queries = queries_of(run, [("p0", "bees")])
        with pytest.raises(UserError, match="3 others are duplicates"):
            make_candidates(run, settings.retriever, settings.relabel, passages, queries)


def test_query_without_a_seed_has_the_nearest_alone(make):
    stage = make(asked=[("", query) for _, query in ASKED])
    assert all([row["rank"] for row in rows] == [1, 2, 3] for rows in by_query(stage))
    assert stage.manifest["counts"] == {"without a seed passage": len(ASKED)}


def test_candidates_without_embeddings_ask_for_no_embedder(make):
    stage = make(sources=["bm25"], model="nobody/no-such-model")
    assert stage.manifest["settings"]["sources"] == ["bm25"]
    assert "model" not in stage.manifest["settings"]


def test_candidates_of_queries_that_a_filter_has_searched_are_the_same(
    tmp_path, encoder_folder, monkeypatch
):
    """What the round trip searched is not searched again, and no byte differs."""
    monkeypatch.setattr("distill.retrieve.dense.search_cache._MIN_PASSAGES", 3)
    settings = {"model": str(encoder_folder), "device": "cpu", "query_template": "{task} {query}"}
    made = make_filter_recipe(retriever=settings, relabel={"top_k": 3, "shard_size": 5})
    searched = []
    search = ExactIndex.search
    monkeypatch.setattr(
        ExactIndex, "search", lambda self, q, k: searched.append(len(q)) or search(self, q, k)
    )

    def make_bytes(name, filtered):
        with Run(tmp_path / name) as run:
            passages = make_numbered_passages(run, len(TEXTS))
            queries = queries_of(run, ASKED)
            if filtered:
                rows = [
                    row for path in list_shards(queries.folder) for row in read_shard(QUERIES, path)
                ]
                draws = attach_passages(rows, PassageReader(passages.folder))
                SeedSearch(run, made.retriever, passages, 2, keeps=3).search(DrawBatch(draws))
            searched.clear()
            stage = make_candidates(run, made.retriever, made.relabel, passages, queries)
            return [path.read_bytes() for path in list_shards(stage.folder)], sum(searched)

    alone, after = make_bytes("alone", False), make_bytes("after", True)
    assert alone[0] == after[0]
    assert (alone[1], after[1]) == (len(ASKED), 0)
