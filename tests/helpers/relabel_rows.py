"""A run whose stages `passages`, `queries` and `candidates` stand, from a few words."""

from collections.abc import Sequence
from typing import Any

from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import CANDIDATES, PASSAGES, QUERIES, Row, Table


def prepare_candidates(
    run: Run,
    texts: dict[str, str],
    asked: Sequence[tuple[str, str]],
    found: Sequence[Sequence[str]],
    shard_size: int = 2,
) -> tuple[Stage, Stage, Stage]:
    """Passages by id; queries as (text, seed id), named q0, q1, ...; the ids found for each, a
    leading "-" on a seed that retrieval missed."""
    passages = [
        {"passage_id": id_, "title": "", "text": text, "source": ""} for id_, text in texts.items()
    ]
    queries = [
        {
            "query_id": f"q{number}",
            "seed_id": seed,
            "task": "Find it.",
            "task_type": "search",
            "query": text,
            "persona": None,
            "llm": "writer",
        }
        for number, (text, seed) in enumerate(asked)
    ]
    candidates = [
        [make_candidate(f"q{number}", id_, rank) for rank, id_ in enumerate(ids, start=1)]
        for number, ids in enumerate(found)
    ]
    shards = [
        [row for of_query in candidates[start : start + shard_size] for row in of_query]
        for start in range(0, len(candidates), shard_size)
    ]
    made = _write_stage(run, PASSAGES, [passages[:2], passages[2:]])
    return (
        made,
        _write_stage(run, QUERIES, [queries], made),
        _write_stage(run, CANDIDATES, shards, made),
    )


def make_candidate(query_id: str, passage_id: str, rank: int) -> Row:
    missed = passage_id.startswith("-")
    return {
        "query_id": query_id,
        "passage_id": passage_id.lstrip("-"),
        "rank": None if missed else rank,
        "similarity": 1.0 - rank / 10,
    }


def _write_stage(run: Run, table: Table, shards: Sequence[list[Row]], *inputs: Stage) -> Stage:
    content: dict[str, Any] = {"rows": [list(map(list, map(dict.items, s))) for s in shards]}
    stage = run.open_stage(table.name, content, inputs)
    if not stage.complete:
        stage.map_shards(table, shards, ShardResult)
        stage.finish()
    return stage
