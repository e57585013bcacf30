"""Candidates: the nearest passages of each generated query, task and query embedded together
(Gecko, section 3.2), and the seed passage even where retrieval missed it."""

from collections import Counter

from distill.recipe import Recipe
from distill.retrieve.corpus import corpus_vectors, identity, open_encoder
from distill.retrieve.search import Index, make_index, similarity
from distill.retrieve.vectors import VectorStore, embed
from distill.run import Run, Shard, Stage
from distill.tables import CANDIDATES, QUERIES, Row


def make_candidates(run: Run, recipe: Recipe, passages: Stage, queries: Stage) -> Stage:
    """Retrieve `relabel.top_k` passages for each query."""
    retriever, top_k = recipe.retriever, recipe.relabel.top_k
    settings = {
        **identity(retriever),
        "top_k": top_k,
        "shard_size": recipe.relabel.shard_size,
    }
    stage = run.stage("candidates", settings, [passages, queries])
    if stage.complete:
        return stage
    encoder = open_encoder(retriever)
    documents = corpus_vectors(run, encoder, passages)
    asked = queries.rows(QUERIES)
    texts = [retriever.query_template.format(task=r["task"], query=r["query"]) for r in asked]
    ids = [row["query_id"] for row in asked]
    vectors = embed(run.folder / "vectors", encoder, "query", ids, texts, "embed queries")
    index = make_index(retriever.index, documents.vectors)
    row_of = documents.row_of
    size = recipe.relabel.shard_size
    items = [range(i, min(i + size, len(asked))) for i in range(0, len(asked), size)]
    stage.map_shards(
        CANDIDATES,
        items,
        lambda numbers: _search(numbers, asked, vectors, documents, row_of, index, top_k),
        size=len,
        unit="queries",
    )
    stage.finish()
    return stage


def _search(
    numbers: range,
    asked: list[Row],
    queries: VectorStore,
    documents: VectorStore,
    row_of: dict[str, int],
    index: Index,
    top_k: int,
) -> Shard:
    shard = Shard([], Counter())
    scores, found = index.search(queries.vectors[numbers.start : numbers.stop], top_k)
    for place, number in enumerate(numbers):
        query = asked[number]
        for rank, (score, row) in enumerate(zip(scores[place], found[place], strict=True), start=1):
            shard.rows.append(_row(query["query_id"], documents.ids[row], rank, float(score)))
        seed = row_of[query["seed_id"]]
        if seed in found[place]:
            shard.counts["seed retrieved"] += 1
            continue
        shard.counts["seed not retrieved"] += 1
        score = similarity(queries.vectors[number], documents.vectors[seed : seed + 1])[0]
        shard.rows.append(_row(query["query_id"], query["seed_id"], None, float(score)))
    return shard


def _row(query_id: str, passage_id: str, rank: int | None, score: float) -> Row:
    return {
        "query_id": query_id,
        "passage_id": passage_id,
        "rank": rank,
        "similarity": score,
    }
