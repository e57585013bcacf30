"""Step two of the brainstorm: one example a task, in a context of its own, and what of it becomes a
training example (E5-Mistral, section 3.1)."""

import functools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.corpus.gather import PassageDeduplicator
from distill.errors import UserError
from distill.generate.brainstorm.placeholders import draw_placeholders
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
    make_example_schema,
    parse_json_reply,
    serialize_schema,
)
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, write_replies
from distill.generate.examples import (
    find_clean_examples,
    make_example,
    reject_contaminated,
    reject_degenerate,
    reject_refusal,
    summarize_decontamination,
)
from distill.generate.settings import WritingSettings
from distill.llm.load import identify_llm
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Sampling
from distill.recipe import Brainstorm, Generate, Group
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import BRAINSTORM, EXAMPLES, TASKS, Row, read_shard
from distill.tasks.decontaminate import RULE, Decontaminator, EvaluationSet
from distill.text.normalize import normalize_words
from distill.text.sanitize import sanitize_for_prompt
from distill.text.words import count_words

Tasks = Mapping[Group, Sequence[str]]

_NAME = "examples-brainstorm"
_COPIED_WORDS = 4
"""Fewer may stand in a prompt by chance."""


def write_examples(
    run: Run, writing: WritingSettings, tasks: Stage, llm: Callable[[], LLM]
) -> Stage:
    """Write the stage `brainstorm-generations`: `generate.brainstorm.examples` of them."""
    settings = writing.generate.brainstorm
    prompts = load_prompts(settings, writing.folder, "example", settings.groups)
    samplings = {group: _make_sampling(writing.generate, group) for group in settings.groups}
    named = {"groups", "examples", "languages", "max_new_tokens", "temperature", "top_p"}
    stage = run.open_stage(
        "brainstorm-generations",
        {
            **settings.model_dump(include=named | {"shard_size"}),
            **({"shares": settings.shares} if settings.shares else {}),
            "prompts": {group: prompt.source for group, prompt in prompts.items()},
            "schemas": {group: sampling.json_schema for group, sampling in samplings.items()},
            "llm": identify_llm(writing.llm),
            "seed": writing.seed,
        },
        [tasks],
    )
    if not stage.complete:
        rows = tasks.read_rows(TASKS)
        by_group = {
            group: [row["task"] for row in rows if row["task_type"] == group]
            for group in settings.groups
        }
        requests = list_example_requests(by_group, settings, writing.seed)
        write_replies(stage, writing, requests, prompts, samplings, llm)
    return stage


def list_example_requests(tasks: Tasks, settings: Brainstorm, seed: int) -> list[PromptRequest]:
    """List the examples to write, group after group: by their shares over the groups that have a
    task, and within a group evenly over its tasks, in an order drawn by the recipe's seed."""
    groups = [group for group in settings.groups if tasks[group]]
    requests: list[PromptRequest] = []
    for group, share in _divide(groups, settings).items():
        order = list(tasks[group])
        random.Random(f"{seed}|{group}").shuffle(order)
        for place in range(share):
            item_id = f"brainstorm~{len(requests)}"
            placeholders = draw_placeholders(group, settings, seed, item_id)
            requests.append(PromptRequest(item_id, group, order[place % len(order)], placeholders))
    return requests


def _divide(groups: Sequence[Group], settings: Brainstorm) -> dict[Group, int]:
    """Divide examples, so many for each group: its share rounded down, and one more for those that
    lost most by it, the first of equals."""
    shares = [settings.shares.get(group, 1.0) for group in groups]
    exact = [settings.examples * share / sum(shares) for share in shares]
    counts = [math.floor(count) for count in exact]
    lost = sorted(range(len(groups)), key=lambda i: (counts[i] - exact[i], i))
    for i in lost[: settings.examples - sum(counts)]:
        counts[i] += 1
    return dict(zip(groups, counts, strict=True))


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
    settings: dict[str, Any] = {
        "version": 1,
        "refusals": filters.refusals,
        "decontaminate": {known.name: known.revision for known in sets},
        "decontaminate_words": filters.decontaminate_words if sets else None,
    }
    if sets:
        settings["decontaminate_rule"] = RULE
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


def _make_sampling(generate: Generate, group: Group) -> Sampling:
    settings = generate.brainstorm
    schema = make_example_schema(group, settings.max_new_tokens)
    return Sampling(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        json_schema=serialize_schema(schema) if generate.constrain else None,
    )


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
