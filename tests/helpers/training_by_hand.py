"""A run whose corpus and examples were written by hand, small enough to train on in seconds."""

from pathlib import Path
from typing import Any

from distill.recipe import Recipe
from distill.store.run import Run
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, PASSAGES, Row
from distill.student.build import build_base
from distill.train.settings import TrainingSettings
from distill.train.stage import train_student
from helpers.tiny_models import TEXTS

BOTH = {"infonce": 1.0, "align": 1.0}
ALIGNED = {"objective": BOTH, "align": {"passages": 8, "sentences": 8, "batch_size": 3}}
QUESTIONS = ["heart", "wires", "glacier", "bees", "library", "yeast", "tides", "bridges", "owl"]


def make_passage_rows() -> list[Row]:
    return [
        {"passage_id": f"p{i}", "title": f"Text {i}", "text": text, "source": "hand"}
        for i, text in enumerate(TEXTS)
    ]


def make_example_rows() -> list[Row]:
    """Nine examples: six with a hard negative, three without."""
    texts = [f"Text {i} {text}" for i, text in enumerate(TEXTS)]
    rows = []
    for i, word in enumerate(QUESTIONS):
        negatives = [(i + 5) % len(texts)] if i % 3 else []
        rows.append(
            {
                "query_id": f"q{i}",
                "task": "Find a fact." if i % 2 else "Answer the question.",
                "task_type": "search",
                "query": f"what about {word}",
                "seed_id": f"p{i}",
                "positive_id": f"p{i}",
                "positive": texts[i],
                "negative_ids": [f"p{n}" for n in negatives],
                "negatives": [texts[n] for n in negatives],
                "positive_score": 0.5,
                "negative_scores": [0.1 for _ in negatives],
                "relabelled": False,
            }
        )
    return rows


def make_recipe(encoder: Path, teacher: Path | None = None, **sections: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "tiny",
            "student": {"encoder": str(encoder), "max_tokens": 32} | sections.pop("student", {}),
            "teacher": {"model": str(teacher) if teacher else None, "device": "cpu"},
            "train": {"batch_size": 4, "epochs": 2, "device": "cpu"} | sections.pop("train", {}),
            **sections,
        }
    )


def write_inputs(run: Run, rows: list[Row]) -> tuple[Stage, Stage]:
    """The tables `passages` and `examples` in a run."""
    passages = run.open_stage("passages", {})
    passages.map_shards(PASSAGES, [make_passage_rows()], ShardResult)
    passages.finish()
    examples = run.open_stage("examples", {"rows": rows}, [passages])
    examples.map_shards(EXAMPLES, [rows], ShardResult)
    examples.finish()
    return passages, examples


def train_in(folder: Path, recipe: Recipe, rows: list[Row] | None = None) -> Stage:
    """Everything up to the student, continuing what is in the folder."""
    with Run(folder) as run:
        passages, examples = write_inputs(run, make_example_rows() if rows is None else rows)
        base = build_base(run, recipe.student, recipe.seed)
        return train_student(run, TrainingSettings.select(recipe), passages, [examples], base)
