"""An LLM that a test scripts, and a brainstorm with it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from distill.generate.brainstorm import make_brainstorm
from distill.generate.brainstorm.schemas import (
    EXAMPLE_SCHEMAS,
)
from distill.generate.settings import WritingSettings
from distill.llm.lazy import LazyLLM
from distill.llm.protocol import LLM, Completion, Sampling
from distill.recipe import Group, Recipe
from distill.recipe.packaged import get_packaged_folder
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import Row, read_rows
from distill.tasks.decontaminate import list_evaluation_sets

GROUPS: list[Group] = list(EXAMPLE_SCHEMAS)
WORDS = ["heart", "copper", "glacier", "bees", "yeast", "tides", "bridges", "owl", "salt", "chess"]


def write_well_formed(prompt: str, seed: int, sampling: Sampling) -> str:
    """Writes what the schema asks for, of words drawn by the seed."""
    draw = random.Random(f"{prompt}{seed}")
    schema = json.loads(sampling.json_schema or "")

    def text() -> str:
        return " ".join(draw.sample(WORDS, 4))

    if "tasks" in schema["properties"]:
        count = schema["properties"]["tasks"]["maxItems"]
        return json.dumps({"tasks": [f"Find {text()}." for _ in range(count)]})
    return json.dumps({key: text() for key in schema["properties"]})


class ScriptedLLM:
    """An LLM for the paths that depend on what exactly is written."""

    can_score = False
    supports_regex = supports_schema = True
    name = "scripted"

    def __init__(
        self, reply: Callable[[str, int, Sampling], str] = write_well_formed, has_chat: bool = True
    ) -> None:
        self.reply = reply
        self.has_chat = has_chat
        self.tokens = {"prompt": 0, "shared": 0, "new": 0}
        self.asked: list[tuple[str, Sampling]] = []

    def generate(self, prompts, seeds, sampling):
        self.asked += [(prompt, sampling) for prompt in prompts]
        self.tokens["new"] += len(prompts)
        return [
            Completion(self.reply(prompt, seed, sampling), True)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def score(self, requests):
        raise NotImplementedError


def make_brainstorm_recipe(encoder: Path, llm: Path, /, **settings: Any) -> Recipe:
    generate = settings.pop("generate", {})
    llm_settings = settings.pop("llm", {})
    brainstorm = {
        "examples": 26,
        "calls": 2,
        "tasks_per_call": 3,
        "shard_size": 3,
        "same_task": 1.0,
        "languages": ["English", "German"],
        "groups": list(get_args(Group)),
        **settings.pop("brainstorm", {}),
    }
    recipe = Recipe.model_validate(
        {
            "name": "storm",
            "seed": 5,
            "llm": {"model": str(llm), "dtype": "float32", "device": "cpu", **llm_settings},
            "generate": {"methods": ["brainstorm"], "brainstorm": brainstorm, **generate},
            "retriever": {"model": str(encoder), "max_tokens": 32, "device": "cpu"},
            "train": {"objective": {"infonce": 1}},
            **settings,
        }
    )
    recipe._folder = get_packaged_folder()
    return recipe


def make_examples(run: Run, recipe: Recipe, llm: LazyLLM) -> Stage:
    filters = recipe.generate.filters
    sets = list_evaluation_sets(recipe.evaluate, filters, None, recipe.seed, None)
    return make_brainstorm(run, WritingSettings.select(recipe), recipe.retriever, llm, sets)


def run_brainstorm(folder: Path, recipe: Recipe, llm: LLM) -> Stage:
    with Run(folder) as run:
        return make_examples(run, recipe, LazyLLM(lambda: llm, served=True))


def read_table(stage: Stage, name: str, table: Any) -> list[Row]:
    return list(read_rows(table, stage.folder.parent / name))


def read_manifest(stage: Stage, name: str) -> dict[str, Any]:
    return json.loads((stage.folder.parent / name / ".stage" / "manifest.json").read_text())


def make_triple(query: str, positive: str, negative: str) -> str:
    return json.dumps({"S1": query, "S2": positive, "S3": negative})
