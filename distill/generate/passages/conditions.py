"""Draw the conditions of a query: the type of task, the few-shot examples and, if the recipe says
so, for whom it is, its length, difficulty and language.

Task types come by quota: each run of as many rows as there are types holds every type once, in an
order of its own, so that types differ by at most one row in any whole. All else is drawn by the
recipe's seed, the passage and the sample, whatever else is generated beside it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distill.errors import UserError
from distill.files.read import read_text
from distill.llm.prompts import find_prompt
from distill.recipe import Generate, TaskType
from distill.text.sanitize import sanitize_for_prompt

T = TypeVar("T")

_MOST_PERSONA_WORDS = 60


@dataclass(frozen=True)
class GenerationConditions:
    """The conditions under which one query is written. `example_set` is the number of the set of
    few-shot examples; a value of None is left to the LLM."""

    task_type: TaskType
    example_set: int
    persona: str | None
    length: str | None
    difficulty: str | None
    language: str | None

    def list_variables(self, languages: Mapping[str, str]) -> dict[str, Any]:
        """List the variables of a prompt; the language has its name in `languages`."""
        return {
            "task_type": self.task_type,
            "persona": self.persona,
            "length": self.length,
            "difficulty": self.difficulty,
            "language": languages.get(self.language or ""),
        }


def draw_conditions(
    settings: Generate,
    personas: Sequence[str],
    seed: int,
    row: int,
    passage_id: str,
    sample: int,
) -> GenerationConditions:
    """Draw the conditions of one row, the `row`-th (from 0) of all."""

    def draw_one(name: str, values: Sequence[T]) -> T | None:
        if not values:
            return None
        return random.Random(f"{seed}|{passage_id}|{sample}|{name}").choice(values)

    return GenerationConditions(
        task_type=choose_task_type(settings.task_types, seed, row),
        example_set=draw_one("hand", range(settings.example_sets)) or 0,
        persona=draw_one("persona", personas),
        length=draw_one("length", settings.lengths),
        difficulty=draw_one("difficulty", settings.difficulties),
        language=draw_one("language", settings.languages),
    )


def choose_task_type(types: Sequence[TaskType], seed: int, row: int) -> TaskType:
    """Choose the `row`-th of a sequence in which every run of `len(types)` rows is a
    permutation."""
    block, place = divmod(row, len(types))
    return random.Random(f"{seed}|types|{block}").sample(list(types), len(types))[place]


def load_personas(name: str | None, folder: Path) -> list[str]:
    """Load the personas, one a line; empty where no file is named.

    Args:
        name: of the file, as `generate.personas` gives it.
        folder: of the recipe, which the file is named relative to.

    Raises:
        UserError: if the file is missing, or holds none.
    """
    if name is None:
        return []
    path = find_prompt(name, folder)
    lines = read_text(path).splitlines()
    personas = [
        persona for line in lines if (persona := sanitize_for_prompt(line, _MOST_PERSONA_WORDS))
    ]
    if not personas:
        raise UserError(str(path), "holds no persona", "write one a line, such as 'a nurse'")
    return personas


def load_language_names(codes: Sequence[str]) -> dict[str, str]:
    """Load the names by which an LLM is told languages: `{"de": "German"}`.

    Raises:
        UserError: for a code that is not one of ISO 639-1.
    """
    if not codes:
        return {}
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    for code in codes:
        if code not in LANGUAGES:
            raise UserError(
                "generate.languages",
                f"{code!r} is not a known ISO 639-1 code",
                f"use codes such as {', '.join(list(LANGUAGES)[:6])}",
            )
    return {code: LANGUAGES[code].title() for code in codes}
