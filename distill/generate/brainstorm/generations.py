"""The stage `brainstorm-generations`, step two of the brainstorm: one example a task, in a context
of its own (E5-Mistral, section 3.1)."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill.generate.brainstorm.placeholders import draw_placeholders
from distill.generate.brainstorm.schemas import make_example_schema, serialize_schema
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, write_replies
from distill.generate.settings import WritingSettings
from distill.llm.load import identify_llm
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Sampling
from distill.recipe import Brainstorm, Generate, Group
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import TASKS

Tasks = Mapping[Group, Sequence[str]]


def write_examples(
    run: Run, writing: WritingSettings, tasks: Stage, llm: Callable[[], LLM]
) -> Stage:
    """Write the stage `brainstorm-generations`: `generate.brainstorm.examples` of them."""
    settings = writing.generate.brainstorm
    stage = run.open_stage("brainstorm-generations", fingerprint(writing), [tasks])
    if not stage.complete:
        prompts, samplings = _load_prompts(writing), _make_samplings(writing.generate)
        rows = tasks.read_rows(TASKS)
        by_group = {
            group: [row["task"] for row in rows if row["task_type"] == group]
            for group in settings.groups
        }
        requests = list_example_requests(by_group, settings, writing.seed)
        write_replies(stage, writing, requests, prompts, samplings, llm)
    return stage


def fingerprint(writing: WritingSettings) -> dict[str, Any]:
    """Collect the settings that change the examples that are written."""
    settings = writing.generate.brainstorm
    named = {"groups", "examples", "languages", "max_new_tokens", "temperature", "top_p"}
    samplings = _make_samplings(writing.generate)
    return {
        **settings.model_dump(include=named | {"shard_size"}),
        **({"shares": settings.shares} if settings.shares else {}),
        "prompts": {group: prompt.source for group, prompt in _load_prompts(writing).items()},
        "schemas": {group: sampling.json_schema for group, sampling in samplings.items()},
        "llm": identify_llm(writing.llm),
        "seed": writing.seed,
    }


def _load_prompts(writing: WritingSettings) -> dict[Group, Prompt]:
    settings = writing.generate.brainstorm
    return load_prompts(settings, writing.folder, "example", settings.groups)


def _make_samplings(generate: Generate) -> dict[Group, Sampling]:
    return {group: _make_sampling(generate, group) for group in generate.brainstorm.groups}


def _make_sampling(generate: Generate, group: Group) -> Sampling:
    settings = generate.brainstorm
    schema = make_example_schema(group, settings.max_new_tokens)
    return Sampling(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        json_schema=serialize_schema(schema) if generate.constrain else None,
    )


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
    """Divide the number of examples among the groups: each has its share rounded down, and one more
    for those that lost most by it, the first of equals."""
    shares = [settings.shares.get(group, 1.0) for group in groups]
    exact = [settings.examples * share / sum(shares) for share in shares]
    counts = [math.floor(count) for count in exact]
    lost = sorted(range(len(groups)), key=lambda i: (counts[i] - exact[i], i))
    for i in lost[: settings.examples - sum(counts)]:
        counts[i] += 1
    return dict(zip(groups, counts, strict=True))
