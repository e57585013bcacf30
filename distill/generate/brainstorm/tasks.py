"""The stage `tasks`: of the brainstormed lists of tasks, each meaning once."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill.embed.encoder import Encoder, Vectors
from distill.embed.vectors.vector_store import embed
from distill.errors import UserError
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
    make_tasks_schema,
    parse_json_reply,
)
from distill.generate.brainstorm.task_lists import list_asymmetric_groups
from distill.llm.lazy import LazyLLM
from distill.recipe import Brainstorm, Group, Retriever
from distill.retrieve.corpus_index import identify_retriever, open_encoder
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import BRAINSTORM, TASKS, Row
from distill.text.normalize import normalize_text
from distill.text.sanitize import sanitize_for_prompt
from distill.text.words import count_words

_FEWEST_WORDS = 3


def select_tasks(
    run: Run, settings: Brainstorm, retriever: Retriever, lists: Stage, llm: LazyLLM
) -> Stage:
    """Make the stage `tasks`: what the lists hold, in order, without the tasks that an earlier one
    of their group equals, or means (the cosine of their embeddings reaches `same_task`); and the
    one task of each symmetric group. A shard a group. A local LLM is closed only where tasks are
    still to be embedded.

    Raises:
        UserError: if no group has a task.
    """
    asymmetric = list_asymmetric_groups(settings)
    stage = run.open_stage("tasks", fingerprint(settings, retriever), [lists])
    if not stage.complete:
        if asymmetric:
            llm.make_room_for(retriever)
        encoder = open_encoder(retriever, run.workers) if asymmetric else None
        written = lists.read_rows(BRAINSTORM)
        stage.map_shards(
            TASKS,
            settings.groups,
            lambda group: _make_shard(group, written, settings, run, encoder),
            unit="groups",
        )
        stage.finish()
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no task was written well: {stage.manifest['counts']}",
            "read `distill inspect RUN brainstorm-tasks`; then switch a reasoning model's "
            "thinking off by llm.extra_body, or set generate.constrain with an engine that can "
            "force a form; else change llm.model",
        )
    return stage


def fingerprint(settings: Brainstorm, retriever: Retriever) -> dict[str, Any]:
    """Collect the settings that change which tasks are kept."""
    fixed = {"version": 1, "symmetric": [EXAMPLE_SCHEMAS[of].task for of in settings.groups]}
    if not list_asymmetric_groups(settings):
        return fixed
    embedder = identify_retriever(retriever, embeds=True)
    return {**fixed, "same_task": settings.same_task, "retriever": embedder}


def find_same_meaning(vectors: Vectors, least: float) -> list[int | None]:
    """Find, for each of (texts, dimensions) unit vectors in order: the first kept one before it
    whose cosine with it is at least so much, or None where it is kept itself."""
    kept: list[int] = []
    same: list[int | None] = []
    held = np.empty_like(vectors)
    for number, vector in enumerate(vectors):
        alike = np.flatnonzero(held[: len(kept)] @ vector >= least)
        if len(alike):
            same.append(kept[alike[0]])
            continue
        held[len(kept)] = vector
        kept.append(number)
        same.append(None)
    return same


def _make_shard(
    group: Group,
    written: Sequence[Row],
    settings: Brainstorm,
    run: Run,
    encoder: Encoder | None,
) -> ShardResult:
    fixed = EXAMPLE_SCHEMAS[group].task
    if fixed is not None or encoder is None:
        row = {"task_id": f"brainstorm~{group}", "task_type": group, "task": fixed}
        return ShardResult([row], Counter(kept=1))
    shard = ShardResult([])
    tasks = _read([row for row in written if row["task_type"] == group], shard)
    ids, texts = list(tasks), list(tasks.values())
    whole = encoder.wording.write(texts, "query")
    label = f"embed {group} tasks"
    root = run.folder / "vectors"
    store = embed(root, encoder, "query", ids, whole, label, workers=run.workers)
    for task_id, text, same in zip(
        ids, texts, find_same_meaning(store.vectors, settings.same_task), strict=True
    ):
        if same is not None:
            _drop(shard, task_id, "same meaning", f"{text} (as {ids[same]})")
            continue
        shard.counts["kept"] += 1
        shard.rows.append({"task_id": task_id, "task_type": group, "task": text})
    if not shard.rows:
        shard.counts[f"no task for {group}"] += 1
    return shard


def _read(rows: Sequence[Row], shard: ShardResult) -> dict[str, str]:
    """Read the tasks of a group's lists by id, each wording once."""
    tasks: dict[str, str] = {}
    seen: set[str] = set()
    schema = make_tasks_schema(None, None)
    for row in rows:
        reply = parse_json_reply(row, schema)
        if reply.reason is not None:
            _drop(shard, row["item_id"], f"list: {reply.reason}", row["output"])
            continue
        for number, text in enumerate(map(sanitize_for_prompt, reply.value["tasks"])):
            task_id = f"{row['item_id']}~{number}"
            if count_words(text) < _FEWEST_WORDS or not text[0].isalpha():
                _drop(shard, task_id, "no sentence", text)
            elif normalize_text(text) in seen:
                _drop(shard, task_id, "same words", text)
            else:
                seen.add(normalize_text(text))
                tasks[task_id] = text
    return tasks


def _drop(shard: ShardResult, item_id: str, reason: str, text: str) -> None:
    shard.counts[f"dropped: {reason}"] += 1
    shard.dropped.append({"item_id": item_id, "reason": reason, "text": text})
