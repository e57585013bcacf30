"""Few-shot examples by task type, and the sets that are drawn from them.

All prompts of one task type and set begin with the same words, which an engine computes once;
several sets for each type keep the examples, and so the queries, from being all alike.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import get_args

from distill.errors import UserError
from distill.files.read import expect, read_text
from distill.files.read_yaml import parse_yaml
from distill.llm.prompts import find_prompt
from distill.recipe import Generate, TaskType
from distill.text.normalize import normalize_words

_KEYS = ("passage", "task", "query")

FewShotExample = dict[str, str]
"""task_type, passage, task and query of one example."""


@dataclass(frozen=True)
class FewShotPool:
    """The file, its source (part of fingerprints) and its examples by task type."""

    path: Path
    source: str
    examples: dict[str, list[FewShotExample]]

    @property
    def queries(self) -> frozenset[str]:
        """All queries, normalised: none of them may come back as a generated one."""
        return frozenset(
            normalize_words(s["query"]) for shots in self.examples.values() for s in shots
        )

    def draw_examples(
        self, task_type: TaskType, number: int, shots: int, seed: int
    ) -> list[FewShotExample]:
        """Draw `shots` examples in an order of their own: half of them, rounded up, of the type
        itself and among these the last; the others of other types, of as many as there are."""
        draw = random.Random(f"{seed}|hand|{task_type}|{number}")
        own = draw.sample(self.examples[task_type], (shots + 1) // 2)
        others = [kind for kind in sorted(self.examples) if kind != task_type]
        ranked = [
            (rank, place, shot)
            for place, kind in enumerate(draw.sample(others, len(others)))
            for rank, shot in enumerate(draw.sample(self.examples[kind], len(self.examples[kind])))
        ]
        rest = [shot for _, _, shot in sorted(ranked, key=lambda r: r[:2])[: shots // 2]]
        mixed = [*own[1:], *rest]
        draw.shuffle(mixed)
        return [*mixed, *own[:1]]


def load_pool(settings: Generate, folder: Path) -> FewShotPool:
    """Load the few-shot examples.

    Args:
        folder: of the recipe, which the file is named relative to.

    Raises:
        UserError: if the file is missing or malformed, or has too few for `generate.shots`.
    """
    path = find_prompt(settings.examples, folder)
    source = read_text(path)
    pool = FewShotPool(path, source, _parse_examples(path, source))
    _check_size(pool, settings.task_types, settings.shots)
    return pool


@lru_cache(maxsize=8)
def _parse_examples(path: Path, source: str) -> dict[str, list[FewShotExample]]:
    """Parse a file once, though every stage that writes or reads prompts asks for it."""
    values = parse_yaml(source, str(path))
    if not isinstance(values, dict) or not set(values) <= set(get_args(TaskType)):
        raise UserError(
            str(path),
            "is not a mapping of task types to examples",
            f"task types are {', '.join(get_args(TaskType))}",
        )
    return {kind: _read_shots(path, kind, listed) for kind, listed in values.items()}


def _read_shots(path: Path, kind: str, listed: object) -> list[FewShotExample]:
    if listed is None:
        return []
    remedy = f"write `- passage: ...` with {', '.join(_KEYS[1:])} below it, for each example"
    shots = expect(listed, list, f"{path}, {kind}", remedy)
    return [_read_shot(path, kind, number, value) for number, value in enumerate(shots, 1)]


def _read_shot(path: Path, kind: str, number: int, value: object) -> FewShotExample:
    where = f"{path}, {kind}, example {number}"
    if not isinstance(value, dict) or sorted(value) != sorted(_KEYS):
        raise UserError(where, f"does not have exactly {', '.join(_KEYS)}", "give it all three")
    lines = {
        key: " ".join(expect(value[key], str, f"{where}, {key}", "quote it").split())
        for key in _KEYS
    }
    for key, line in lines.items():
        if not line:
            raise UserError(where, f"has an empty {key}", "write it, or leave the example out")
    return {"task_type": kind, **lines}


def _check_size(pool: FewShotPool, types: list[TaskType], shots: int) -> None:
    for kind in types:
        own = len(pool.examples.get(kind, []))
        if own < (shots + 1) // 2:
            raise UserError(
                str(pool.path),
                f"has {own} examples for {kind!r}, {(shots + 1) // 2} needed",
                "add some, lower generate.shots or leave the type out of generate.task_types",
            )
        others = sum(len(s) for other, s in pool.examples.items() if other != kind)
        if others < shots // 2:
            raise UserError(
                str(pool.path),
                f"has {others} examples for other types than {kind!r}, {shots // 2} needed",
                "add some, or lower generate.shots",
            )
