"""Queries which a student is measured on: written for held-out passages after another prompt and
other few-shot examples than training's, and if the recipe says so by another LLM; or held out of a
log of real ones."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from distill.errors import UserError
from distill.files.atomic import write_json
from distill.generate.filters.duplicates import QueryDeduplicator, make_ordinal
from distill.generate.filters.refusals import is_refusal, mentions_text
from distill.generate.log.stage import SPARE, LogSettings, make_held_out_log_queries
from distill.generate.passages.generations import fingerprint as fingerprint_writing
from distill.generate.passages.generations import make_generations
from distill.generate.passages.method import open_method
from distill.generate.passages.parsed import make_parsed, name_counts
from distill.generate.settings import WritingSettings
from distill.llm.protocol import LLM
from distill.recipe import Filters, JudgedPool
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import PARSED, QUERIES, Row, read_rows
from distill.text.words import count_words

NAME = "queries-held-out"
_GENERATIONS = "generations-held-out"
_CHECKED = "checked_beside"
"""Key of the manifest: the fingerprint of the training queries that it was last checked beside."""
_DRAWN = {"lengths": "length", "difficulties": "difficulty"}
"""Keys whose values are drawn for each query, and what a prompt calls them, if it does."""


def make_held_out_queries(
    run: Run,
    pool: JudgedPool,
    writing: WritingSettings,
    log: LogSettings | None,
    passages: Stage,
    training_queries: Stage | None,
    llm: Callable[[], LLM],
) -> Stage:
    """Have the LLM write queries for held-out passages, or take those that are held out of the log,
    and keep at most `evaluate.judged.queries`.

    Refusals, queries outside the limits of words, and near-duplicates of training queries or of one
    another are dropped, counted and kept in the side table.

    Args:
        pool: the section `evaluate.judged`.
        writing: by which training's queries are written.
        log: that the queries are held out of; None has the LLM write them.
        passages: the held-out ones.
        training_queries: None where training has none that were written for passages.
        llm: opens the LLM of `evaluate.judged`.

    Raises:
        UserError: as `make_generations` does, and if no query is left.
    """
    if log is not None:
        parsed = make_held_out_log_queries(run, log)
    else:
        parsed = _write_queries(run, settle_writing(writing, pool), passages, llm)
    filters = writing.generate.filters
    settings = fingerprint(pool, filters)
    stage = _find_unrepeated(run, settings, parsed, training_queries)
    if stage is None:
        known = [training_queries] if training_queries is not None else []
        stage = run.open_stage(NAME, settings, [parsed, *known])
    if not stage.complete:
        stage.map_shards(
            QUERIES,
            [parsed],
            lambda of: _choose(pool, filters, stage, of, training_queries),
            unit="steps",
        )
        stage.finish()
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no held-out query is left ({name_counts(stage.manifest['counts'])})",
            f"read `distill inspect RUN {NAME}/dropped`; then raise corpus.held_out, or change "
            "evaluate.judged.prompt or evaluate.judged.llm; of a log, give a longer one",
        )
    return stage


def fingerprint(pool: JudgedPool, filters: Filters) -> dict[str, Any]:
    """Collect the settings that change which of the written queries are kept."""
    return {
        "queries": pool.queries,
        "near_duplicates": pool.near_duplicates,
        "words": [filters.min_words, filters.max_words],
    }


def _write_queries(
    run: Run, written: WritingSettings, passages: Stage, llm: Callable[[], LLM]
) -> Stage:
    """Have the LLM write queries for held-out passages, and read its replies."""
    generations = _find_written(run, written, passages)
    if generations is None:
        generations = make_generations(run, written, passages, llm, _GENERATIONS)
    return make_parsed(run, written, generations, "parsed-held-out")


def _find_written(run: Run, written: WritingSettings, passages: Stage) -> Stage | None:
    """Find what was written already, perhaps under other values of keys that change nothing of it
    once it is there."""
    method = open_method(written)
    unused = {
        "shard_size",
        *(key for key, name in _DRAWN.items() if name not in str(method.source)),
    }
    return run.find_complete_but_for(
        _GENERATIONS, fingerprint_writing(written, method), [passages], unused
    )


def _find_unrepeated(
    run: Run,
    settings: Mapping[str, Any],
    parsed: Stage,
    training_queries: Stage | None,
) -> Stage | None:
    """Find the complete stage, perhaps made beside other training queries, of which none is near
    one of the present ones. So other training queries leave it as it is, and with it the judged
    pool that was made of it, if they repeat none of its queries. Its manifest then says beside
    which it was checked."""
    name = "queries" if training_queries is None else training_queries.name
    stage = run.find_complete_but_for(NAME, settings, [parsed], (), other_inputs=(name,))
    if stage is None:
        return None
    present = None if training_queries is None else training_queries.fingerprint
    if stage.manifest.get(_CHECKED, stage.manifest["inputs"].get(name)) == present:
        return stage
    if training_queries is not None and _repeats_any(
        settings["near_duplicates"], stage, training_queries
    ):
        return None
    write_json(stage.metadata_dir / "manifest.json", stage.manifest | {_CHECKED: present})
    return stage


def _repeats_any(near: float | None, stage: Stage, training_queries: Stage) -> bool:
    """Tell whether a training query is a duplicate, exact or near, of a held-out one."""
    with QueryDeduplicator(stage.metadata_dir / "seen.sqlite", True, near) as seen:
        for place, row in enumerate(read_rows(QUERIES, stage.folder)):
            seen.add(row["query"], make_ordinal(0, place))
        others = enumerate(read_rows(QUERIES, training_queries.folder))
        return any(seen.find_reason(row["query"], make_ordinal(1, place)) for place, row in others)


def settle_writing(writing: WritingSettings, pool: JudgedPool) -> WritingSettings:
    """Settle the section `generate` and the LLM as these queries are written by them."""
    generate = writing.generate.model_copy(
        update={
            "methods": ["fret"],
            "prompt": pool.prompt,
            "examples": pool.examples,
            "shots": pool.shots,
            "example_sets": 1,
            "task_types": pool.task_types,
            "passages": math.ceil(SPARE * pool.queries),
            "tasks": {},
            "samples": 1,
            "best_of": 1,
            "personas": None,
        }
    )
    return writing._replace(generate=generate, llm=pool.llm or writing.llm)


def _choose(
    pool: JudgedPool,
    filters: Filters,
    stage: Stage,
    parsed: Stage,
    training_queries: Stage | None,
) -> ShardResult:
    shard = ShardResult([], Counter())
    file = stage.metadata_dir / "seen.sqlite"
    with QueryDeduplicator(file, True, pool.near_duplicates) as seen:
        count = 0
        if training_queries is not None:
            for row in read_rows(QUERIES, training_queries.folder):
                seen.add(row["query"], make_ordinal(0, count))
                count += 1
        for place, row in enumerate(read_rows(PARSED, parsed.folder)):
            own = make_ordinal(1, place)
            reason = _reject(filters, row["query"]) or seen.find_reason(row["query"], own)
            if reason is None and len(shard.rows) == pool.queries:
                reason = "more than evaluate.judged.queries"
            if reason is not None:
                shard.counts[f"dropped: {reason}"] += 1
                dropped = {"item_id": row["query_id"], "reason": reason, "text": row["query"]}
                shard.dropped.append(dropped)
                continue
            seen.add(row["query"], own)
            shard.rows.append(_keep(row))
    shard.counts["kept"] = len(shard.rows)
    return shard


def _reject(filters: Filters, query: str) -> str | None:
    if not filters.min_words <= count_words(query) <= filters.max_words:
        return "too few or too many words"
    # The passage is not at hand, and there are spares: a query about "the document" is dropped.
    pointing = mentions_text(query, passage="")
    return "refusal or boilerplate" if is_refusal(query) or pointing else None


def _keep(row: Row) -> Row:
    return {column: row[column] for column in QUERIES.columns}
