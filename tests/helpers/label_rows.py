"""A run whose tables stand from `passages` to `labels`, and label rows, from a few words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distill.recipe import JUDGES, Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, LABELS, PASSAGES, QUERIES, Row, Table

SEED = "seed"

OF_TEXTS = {
    "seed": "Bees dance to tell other bees where the flowers are.",
    "a": "Copper conducts electricity well and does not rust, so wires are made of it.",
    "b": "A glacier is a slow river of ice that carves valleys as it moves.",
    "c": "Yeast turns sugar into alcohol and carbon dioxide, which makes bread rise.",
    "d": "Tides follow the moon: the sea rises and falls twice a day.",
}


class PreparedRun(NamedTuple):
    passages: Stage
    queries: Stage
    labels: Stage
    candidates: Stage


def make_label(
    passage_id: str, rrf: float, rank: int, query_id: str = "q", **columns: object
) -> Row:
    """A label row; what is not named is as if the ranker had not judged. `rank` is the
    retriever's."""
    return {
        "query_id": query_id,
        "passage_id": passage_id,
        "similarity": 1 - rank / 10,
        **dict.fromkeys(JUDGES),
        "retriever_rank": rank,
        **{f"{judge}_rank": None for judge in JUDGES},
        "rrf": rrf,
        **columns,
    }


def make_query(query_id: str, seed_id: str = SEED, text: str = "why do bees dance") -> Row:
    return {
        "query_id": query_id,
        "seed_id": seed_id,
        "task": "Find the answer.",
        "task_type": "search",
        "query": text,
        "persona": None,
        "llm": "writer",
    }


def prepare_labels(
    run: Run,
    queries: Sequence[Row],
    labels: Sequence[Sequence[Row]],
    texts: Mapping[str, str] = OF_TEXTS,
    missed: int = 0,
    rankers: Sequence[str] = ("ql",),
) -> PreparedRun:
    """`labels`: one list a shard. `missed`: seeds that retrieval did not find."""
    passages = _write_stage(
        run, "passages", PASSAGES, [[_make_passage(*item) for item in texts.items()]], []
    )
    asked = _write_stage(run, "queries", QUERIES, [list(queries)], [passages])
    found = [[_make_candidate(row) for row in shard] for shard in labels]
    candidates = _write_stage(run, "candidates", CANDIDATES, found, [asked])
    candidates.finish(counts={"seed not retrieved": missed})
    settings = {"rankers": list(rankers)}
    judged = _write_stage(run, "labels", LABELS, labels, [candidates], settings)
    return PreparedRun(passages, asked, judged, candidates)


def make_relabel_recipe(folder: Path, **relabel: object) -> Recipe:
    made = Recipe(name="test", seed=1, relabel=relabel)
    made._folder = folder
    return made


def _make_passage(passage_id: str, text: str) -> Row:
    return {"passage_id": passage_id, "title": "", "text": text, "source": "test"}


def _make_candidate(row: Row) -> Row:
    return {
        "query_id": row["query_id"],
        "passage_id": row["passage_id"],
        "rank": row["retriever_rank"],
        "similarity": row["similarity"],
    }


def _write_stage(
    run: Run,
    name: str,
    table: Table,
    rows: Sequence[Sequence[Row]],
    inputs: list[Stage],
    settings: Mapping[str, object] | None = None,
) -> Stage:
    stage = run.open_stage(name, settings or {}, inputs)
    stage.map_shards(table, rows, lambda shard: ShardResult(list(shard)))
    stage.finish()
    return stage
