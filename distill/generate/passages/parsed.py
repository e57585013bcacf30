"""The stage `parsed`: what could be read from the generations, each left-out row counted by its
reason and kept in the side table."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from distill.errors import UserError
from distill.generate.passages.method import QueryMethod, open_method
from distill.generate.passages.reply import ParsedQuery
from distill.generate.settings import WritingSettings
from distill.recipe import Generate
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import GENERATIONS, PARSED, Row, read_rows, read_shard
from distill.workers.protocol import OpenWork, WorkerNeeds


def make_parsed(
    run: Run, writing: WritingSettings, generations: Stage, name: str = "parsed"
) -> Stage:
    """Parse the generations, one shard for each of theirs.

    Raises:
        UserError: if not one could be parsed.
    """
    method = open_method(writing)
    stage = run.open_stage(name, fingerprint(writing.generate, method), [generations])
    if not stage.complete:
        stage.map_on_workers(
            PARSED,
            list_shards(generations.folder),
            partial(_open_parser, writing),
            WorkerNeeds(),
            key="generate.shard_size",
        )
        stage.finish()
    if not stage.manifest["rows"]:
        raise _explain_nothing_read(stage, generations)
    return stage


@contextmanager
def _open_parser(writing: WritingSettings) -> Iterator[OpenWork[Path, ShardResult]]:
    method, generate = open_method(writing), writing.generate
    yield OpenWork(lambda paths: [_parse_shard(path, method, generate) for path in paths])


def _explain_nothing_read(stage: Stage, generations: Stage) -> UserError:
    """Explain that nothing was read, with what helps a server's rows, which the LLM's words say
    nothing of."""
    counts = stage.manifest["counts"]
    faults = (row["fault"] for row in read_rows(GENERATIONS, generations.folder) if row["fault"])
    fault = next(faults, None)
    first = f"; the first refusal: {fault}" if fault else ""
    unfinished = any("unfinished" in reason for reason in counts)
    raised = (
        "raise generate.max_new_tokens, or switch a reasoning model's thinking off by "
        "llm.extra_body; else "
    )
    return UserError(
        str(stage.folder),
        f"no generated query was well formed ({name_counts(counts)}){first}",
        f"read `distill inspect RUN {stage.name}/dropped`; then {raised if unfinished else ''}"
        "change llm.model or generate.prompt",
    )


def name_counts(counts: Mapping[str, int]) -> str:
    """Name what a stage counted: `dropped: malformed 12, kept 3`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)


def fingerprint(generate: Generate, method: QueryMethod) -> dict[str, object]:
    """Collect the settings that change what is read from the replies."""
    custom = generate.custom.model_dump(include={"query", "task", "default_task"})
    reading: dict[str, object] = {"custom": custom} if "custom" in generate.methods else {}
    if generate.tasks:
        reading["tasks"] = {**generate.tasks}
    return {"parser": 5, **method.source, **reading}


def _parse_shard(path: Path, method: QueryMethod, generate: Generate) -> ShardResult:
    shard, several = ShardResult([]), generate.best_of > 1
    for row in read_shard(GENERATIONS, path):
        parsed, text = _read(row, method)
        if parsed.reason is not None:
            shard.counts[f"dropped: {parsed.reason}"] += 1
            shard.dropped.append(
                {"item_id": make_query_id(row, several), "reason": parsed.reason, "text": text}
            )
            continue
        shard.counts["kept"] += 1
        shard.rows.append(
            {
                "query_id": make_query_id(row, several),
                "seed_id": row["passage_id"],
                "sample": row["sample"],
                "draw": row["draw"],
                "task": generate.tasks.get(row["task_type"]) or parsed.task or method.task,
                "task_type": row["task_type"],
                "query": parsed.query,
                "persona": row["persona"],
                "language": row["language"],
                "llm": row["llm"],
            }
        )
    return shard


def _read(row: Row, method: QueryMethod) -> tuple[ParsedQuery, str]:
    if row["fault"] is not None:
        return ParsedQuery(reason="refused by the server"), row["fault"]
    return method.parse(row["output"], row["finished"]), row["output"]


def make_query_id(row: Row, several: bool) -> str:
    """Make a query's id: PASSAGE~SAMPLE, and .DRAW where there are several draws to choose from."""
    of_sample = f"{row['passage_id']}~{row['sample']}"
    return f"{of_sample}.{row['draw']}" if several else of_sample
