"""Having the LLM write, group by group: what it wrote is kept word for word, and never lost."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from distill.generate.brainstorm.schemas import EXAMPLE_SCHEMAS
from distill.generate.settings import WritingSettings
from distill.llm.lazy import choose_needs
from distill.llm.load import uses_chat_template
from distill.llm.prompts import Prompt, load_prompt
from distill.llm.protocol import LLM, Sampling
from distill.llm.usable import refuse_if_only_thoughts
from distill.recipe import Brainstorm, Group
from distill.store.stage import ShardResult, Stage
from distill.store.tables import BRAINSTORM, Row
from distill.text.sanitize import sanitize_for_prompt
from distill.workers.protocol import OpenWork

_STOP = ("\n",)
"""Ends a reply that is continued as text: the examples before it are of one line each."""


@dataclass(frozen=True)
class PromptRequest:
    """One prompt of a group. `placeholders` are what its template is given besides the task."""

    item_id: str
    group: Group
    task: str | None
    placeholders: Mapping[str, Any]


def list_brainstorm_prompts(groups: Iterable[Group]) -> list[str]:
    """List the files that `generate.brainstorm.prompts` must hold for these groups."""
    names = []
    for group in groups:
        if EXAMPLE_SCHEMAS[group].task is None:
            names.append(f"tasks-{group}.jinja")
        names.append(f"example-{group}.jinja")
    return names


def load_prompts(
    settings: Brainstorm, folder: Path, step: str, groups: Iterable[Group]
) -> dict[Group, Prompt]:
    """Load the prompts of a step ("tasks" or "example").

    Args:
        folder: of the recipe, which the prompts' folder is named relative to.

    Raises:
        UserError: if one is missing or is no template.
    """
    return {
        group: load_prompt(f"{settings.prompts}/{step}-{group}.jinja", folder, parts=1)
        for group in groups
    }


def render_request(request: PromptRequest, prompt: Prompt, chat: bool) -> str:
    """Render a request's prompt as the LLM gets it. A task that it wrote itself comes back as
    data."""
    values = dict(request.placeholders)
    if request.task is not None:
        values["task"] = sanitize_for_prompt(request.task)
    return prompt.render(chat=chat, **values)


def write_replies(
    stage: Stage,
    writing: WritingSettings,
    requests: Sequence[PromptRequest],
    prompts: Mapping[Group, Prompt],
    samplings: Mapping[Group, Sampling],
    llm: Callable[[], LLM],
) -> None:
    """Fill the stage, a BRAINSTORM row a request, and finish it. A shard holds one group, whose
    prompts begin alike and whose replies have one form. `llm` is called only if there is something
    to write."""
    items = _split_requests(requests, writing.generate.brainstorm.shard_size)
    if not items:
        stage.finish()
        return
    tokens = stage.map_on_workers(
        BRAINSTORM,
        items,
        partial(_open_writer, writing, prompts, samplings, llm),
        choose_needs(llm),
        size=len,
        unit="prompts",
        key="generate.brainstorm.shard_size",
        requests_a_unit=1,
    )
    stage.finish(tokens=tokens)


@contextmanager
def _open_writer(
    writing: WritingSettings,
    prompts: Mapping[Group, Prompt],
    samplings: Mapping[Group, Sampling],
    llm: Callable[[], LLM],
) -> Iterator[OpenWork[list[PromptRequest], ShardResult]]:
    engine = llm()
    chat = uses_chat_template(writing.llm, engine)

    def write_shards(some: Sequence[list[PromptRequest]]) -> list[ShardResult]:
        return [_write(item, writing, prompts, samplings, chat, engine) for item in some]

    yield OpenWork(write_shards, lambda: engine.tokens)


def _split_requests(requests: Sequence[PromptRequest], size: int) -> list[list[PromptRequest]]:
    items = []
    for _, of_group in groupby(requests, key=lambda request: request.group):
        together = list(of_group)
        items += [together[start : start + size] for start in range(0, len(together), size)]
    return items


def _write(
    item: list[PromptRequest],
    writing: WritingSettings,
    prompts: Mapping[Group, Prompt],
    samplings: Mapping[Group, Sampling],
    chat: bool,
    engine: LLM,
) -> ShardResult:
    group = item[0].group
    sampling = replace(samplings[group], chat=chat)
    if not chat and not (engine.supports_schema and sampling.json_schema):
        sampling = replace(sampling, stop=_STOP)
    texts = [render_request(request, prompts[group], chat) for request in item]
    seeds = [_make_seed(writing.seed, request.item_id) for request in item]
    written = engine.generate(texts, seeds, sampling)
    refuse_if_only_thoughts(written, writing.llm, "generate.brainstorm.max_new_tokens")
    rows: list[Row] = [
        {
            "item_id": request.item_id,
            "task_type": group,
            "task": request.task,
            "placeholders": json.dumps(request.placeholders, ensure_ascii=False),
            "output": reply.text,
            "finished": reply.finished,
            "fault": reply.fault,
            "llm": engine.name,
        }
        for request, reply in zip(item, written, strict=True)
    ]
    return ShardResult(rows, Counter(written=len(rows)))


def _make_seed(seed: int, item_id: str) -> int:
    digest = hashlib.sha256(f"{seed}|{item_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
