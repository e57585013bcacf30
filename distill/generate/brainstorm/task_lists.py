"""The stage `brainstorm-tasks`, step one of the brainstorm: lists of tasks for each group that is
not symmetric (E5-Mistral, section 3.1)."""

from collections.abc import Callable
from typing import Any

from distill.generate.brainstorm.schemas import (
    CHARACTERS_PER_TOKEN,
    EXAMPLE_SCHEMAS,
    make_tasks_schema,
    serialize_schema,
)
from distill.generate.brainstorm.writing import PromptRequest, load_prompts, write_replies
from distill.generate.settings import WritingSettings
from distill.llm.load import identify_llm
from distill.llm.prompts import Prompt
from distill.llm.protocol import LLM, Sampling
from distill.recipe import Brainstorm, Generate, Group
from distill.store.run import Run
from distill.store.stage import Stage

_TOKENS_PER_TASK = 40


def write_tasks(run: Run, writing: WritingSettings, llm: Callable[[], LLM]) -> Stage:
    """Write the stage `brainstorm-tasks`: `calls` lists for each group that is not symmetric."""
    stage = run.open_stage("brainstorm-tasks", fingerprint(writing))
    if not stage.complete:
        prompts, requests = _load_prompts(writing), list_task_requests(writing.generate.brainstorm)
        samplings = dict.fromkeys(prompts, _make_sampling(writing.generate))
        write_replies(stage, writing, requests, prompts, samplings, llm)
    return stage


def fingerprint(writing: WritingSettings) -> dict[str, Any]:
    """Collect the settings that change the lists of tasks that are written."""
    sampling = _make_sampling(writing.generate)
    named = {"groups", "calls", "tasks_per_call", "temperature", "top_p", "shard_size"}
    return {
        **writing.generate.brainstorm.model_dump(include=named),
        "prompts": {group: prompt.source for group, prompt in _load_prompts(writing).items()},
        "schema": sampling.json_schema,
        "max_new_tokens": sampling.max_new_tokens,
        "llm": identify_llm(writing.llm),
        "seed": writing.seed,
    }


def _load_prompts(writing: WritingSettings) -> dict[Group, Prompt]:
    settings = writing.generate.brainstorm
    return load_prompts(settings, writing.folder, "tasks", list_asymmetric_groups(settings))


def list_task_requests(settings: Brainstorm) -> list[PromptRequest]:
    """List the lists to write, group after group."""
    return [
        PromptRequest(
            f"brainstorm~{group}~{call}",
            group,
            None,
            {"count": settings.tasks_per_call, "call": call},
        )
        for group in list_asymmetric_groups(settings)
        for call in range(settings.calls)
    ]


def list_asymmetric_groups(settings: Brainstorm) -> list[Group]:
    """List the groups whose tasks the LLM invents; a symmetric one has a single, fixed task."""
    return [group for group in settings.groups if EXAMPLE_SCHEMAS[group].task is None]


def _make_sampling(generate: Generate) -> Sampling:
    """Make sampling settings with room for whole lists, whatever room examples have."""
    settings = generate.brainstorm
    schema = make_tasks_schema(settings.tasks_per_call, CHARACTERS_PER_TOKEN * _TOKENS_PER_TASK)
    return Sampling(
        max_new_tokens=_TOKENS_PER_TASK * settings.tasks_per_call + _TOKENS_PER_TASK,
        temperature=settings.temperature,
        top_p=settings.top_p,
        json_schema=serialize_schema(schema) if generate.constrain else None,
    )
