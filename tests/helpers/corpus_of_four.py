"""A small corpus of JSON lines, and its passages."""

import json
from pathlib import Path
from typing import Any

from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import PASSAGES, Row
from helpers.passages import make_passages

ROWS = [
    {"_id": "a", "title": "Copper", "text": "Copper conducts electricity well. It is red."},
    {"_id": "b", "title": "Copper", "text": "copper  conducts electricity well. it is red."},
    {"_id": "c", "title": "", "text": "Too short."},
    {"_id": "d", "title": "Ice", "text": "A glacier is slow ice. It carves valleys as it moves."},
]


def make_corpus_recipe(seed: int = 13, **corpus: Any) -> Recipe:
    values = {"min_words": 4, "max_tokens": 12} | corpus
    return Recipe.model_validate({"name": "x", "seed": seed, "corpus": values})


def write_corpus(folder: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def make_run_passages(run: Path, recipe: Recipe) -> tuple[Stage, list[Row]]:
    with Run(run) as opened:
        made = make_passages(opened, recipe.corpus, recipe.seed)
    return made, made.read_rows(PASSAGES)
