"""The stage `examples-brainstorm`: what of the brainstormed examples becomes a training example."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.corpus.gather import PassageDeduplicator
from distill.errors import UserError
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
    make_example_schema,
    parse_json_reply,
)
from distill.generate.brainstorm.writing import load_prompts
from distill.generate.examples import (
    find_clean_examples,
    list_decontamination,
    make_example,
    reject_contaminated,
    reject_degenerate,
    reject_refusal,
    summarize_decontamination,
)
from distill.llm.prompts import Prompt
from distill.recipe import Filters, Generate, Group
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import BRAINSTORM, EXAMPLES, Row, read_shard
from distill.tasks.decontaminate import Decontaminator, EvaluationSet
from distill.text.normalize import normalize_words
from distill.text.sanitize import sanitize_for_prompt
from distill.text.words import count_words

_NAME = "examples-brainstorm"
_COPIED_WORDS = 4
"""Fewer may stand in a prompt by chance."""


def select_examples(
    run: Run, generate: Generate, folder: Path, written: Stage, sets: Sequence[EvaluationSet]
) -> Stage:
    """Make the stage `examples-brainstorm`: what was written in form, teaches something, passes the
    recipe's filters and is no exact duplicate. All else is counted and kept in the side table.

    Args:
        folder: of the recipe, which prompts are named relative to.
        sets: what the recipe evaluates on.

    Raises:
        UserError: if no example is left.
    """
    filters = generate.filters
    settings = fingerprint(filters, sets)
    known = functools.cache(
        lambda: Decontaminator(sets, filters.decontaminate_words) if sets else None
    )
    stage = find_clean_examples(run, _NAME, settings, [written], sets, known)
    stage = stage or run.open_stage(_NAME, settings, [written])
    if not stage.complete:
        prompts = load_prompts(generate.brainstorm, folder, "example", generate.brainstorm.groups)
        seen = PassageDeduplicator()
        for path in list_shards(stage.folder):
            for row in read_shard(EXAMPLES, path):
                seen.is_new(row["query"], row["positive"])
        stage.map_shards(
            EXAMPLES,
            list_shards(written.folder),
            lambda path: _keep(path, prompts, known(), filters.refusals, seen),
            unit="shards",
        )
        stage.finish(**summarize_decontamination(stage, known(), filters.decontaminate_words))
    if not stage.manifest["rows"]:
        raise UserError(
            str(stage.folder),
            f"no example is left: {stage.manifest['counts']}",
            "read `distill inspect RUN brainstorm-generations`; then raise "
            "generate.brainstorm.max_new_tokens, or switch a reasoning model's thinking off by "
            "llm.extra_body; else change llm.model",
        )
    return stage


def fingerprint(filters: Filters, sets: Sequence[EvaluationSet]) -> dict[str, Any]:
    """Collect the settings that change which examples are kept."""
    return {"version": 1, "refusals": filters.refusals, **list_decontamination(filters, sets)}


def _keep(
    path: Path,
    prompts: Mapping[Group, Prompt],
    known: Decontaminator | None,
    refusals: bool,
    seen: PassageDeduplicator,
) -> ShardResult:
    shard = ShardResult([])
    for row in read_shard(BRAINSTORM, path):
        group = row["task_type"]
        reply = parse_json_reply(row, make_example_schema(group, None))
        reason = reply.reason
        if reason is None:
            example = _make_example(row, reply.value)
            reason = _find_reason(example, prompts[group].source, known, refusals)
            if reason is None and not seen.is_new(example["query"], example["positive"]):
                reason = "duplicate"
        if reason is not None:
            shard.counts[f"dropped: {reason}"] += 1
            shard.dropped.append(
                {"item_id": row["item_id"], "reason": reason, "text": row["output"]}
            )
            continue
        shard.counts["kept"] += 1
        shard.counts[f"kept: {group}"] += 1
        shard.rows.append(example)
    return shard


def _find_reason(
    example: Row, prompt: str, known: Decontaminator | None, refusals: bool
) -> str | None:
    """Return why an example is dropped: because of what it is, or by one of `generate.filters`."""
    reason = reject_degenerate(example) or _find_copied(example, normalize_words(prompt))
    reason = reason or reject_contaminated(example, known)
    return reject_refusal(example) if reason is None and refusals else reason


def _find_copied(example: Row, prompt: str) -> str | None:
    """Return what an example copies of its prompt, as small models do: its examples, or what it
    says of the texts to write."""
    texts = (normalize_words(example["query"]), normalize_words(example["positive"]))
    copied = any(count_words(text) >= _COPIED_WORDS and text in prompt for text in texts)
    return "copies the prompt" if copied else None


def _make_example(row: Row, value: Mapping[str, str]) -> Row:
    form = EXAMPLE_SCHEMAS[row["task_type"]]
    return make_example(
        row["item_id"],
        sanitize_for_prompt(row["task"]),
        row["task_type"],
        sanitize_for_prompt(value[form.query]),
        sanitize_for_prompt(value[form.positive]),
        [sanitize_for_prompt(value[form.negative])] if form.negative else [],
    )
