"""The stage `teacher-scores`: what one or several large embedders say of each example's query with
its positive and with every negative."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from distill.errors import UserError
from distill.recipe import Recipe
from distill.retrieve.encoder import Side
from distill.retrieve.vectors import embed
from distill.run import Run, Shard, Stage
from distill.tables import EXAMPLES, TEACHER_SCORES, Row, read_shard, shards
from distill.teacher.texts import SIDES, DistinctTexts, documents_of, queries_of, text_id
from distill.teacher.vectors import TeacherRows, open_teacher, teacher_identity

SCALE = "cosine"
"""Inner product of unit vectors, from -1 to 1."""

Texts = Mapping[Side, DistinctTexts]
Embedded = Mapping[Side, TeacherRows]
"""One teacher's vectors of all texts."""


class Scorer(NamedTuple):
    """One model, or several whose vectors are concatenated, under the name it has in the table."""

    name: str
    members: list[Embedded]


def make_teacher_scores(run: Run, recipe: Recipe, examples: Sequence[Stage]) -> Stage:
    """Score every example by `teacher.model` and those in `teacher.also`: a row for each example
    and teacher, in the examples' order; or a row for each example where they are concatenated.

    First each teacher, one after the other in memory, embeds what it has not embedded yet; then
    the scores are read off the vectors. The shards are those of the examples, stage after stage.

    Raises:
        UserError: if the recipe names no teacher, or one twice, or there is no example.
    """
    models = _models(recipe)
    if not any(stage.manifest["rows"] for stage in examples):
        raise UserError(
            ", ".join(str(stage.folder) for stage in examples) or "examples",
            "there is no example to score",
            "generate more queries, or filter fewer of them",
        )
    settings = {
        "teachers": [teacher_identity(recipe.teacher, model) for model in models],
        "combine": recipe.teacher.combine,
    }
    stage = run.stage("teacher-scores", settings, examples)
    if stage.complete:
        return stage
    paths = [path for folder in examples for path in shards(folder.folder)]
    texts = {side: DistinctTexts(paths, texts_of) for side, texts_of in SIDES.items()}
    scorers = _scorers(run, recipe, models, texts)
    stage.map_shards(
        TEACHER_SCORES, paths, lambda path: _score(read_shard(EXAMPLES, path), texts, scorers)
    )
    stage.finish(queries=len(texts["query"]), documents=len(texts["document"]))
    return stage


def _models(recipe: Recipe) -> list[str]:
    if recipe.teacher.model is None:
        raise UserError(
            f"recipe {recipe.name}",
            "names no teacher",
            "set teacher.model to a large embedder, such as BAAI/bge-large-en-v1.5",
        )
    models = [recipe.teacher.model, *recipe.teacher.also]
    if len(set(models)) != len(models):
        raise UserError(
            f"recipe {recipe.name}", "names a teacher twice", "mend teacher.also: each model once"
        )
    return models


def _scorers(run: Run, recipe: Recipe, models: Sequence[str], texts: Texts) -> list[Scorer]:
    embedded = [_embed(run, recipe, model, texts) for model in models]
    if recipe.teacher.combine == "concatenate":
        return [Scorer(" + ".join(models), embedded)]
    return [Scorer(model, [of]) for model, of in zip(models, embedded, strict=True)]


def _embed(run: Run, recipe: Recipe, model: str, texts: Texts) -> Embedded:
    """Texts go in as they are: the teacher puts its own prompts before them."""
    encoder = open_teacher(recipe.teacher, model)
    root = run.folder / "vectors"

    def rows(side: Side) -> TeacherRows:
        parts = (part for part in texts[side].parts() if part)
        label = f"{side} vectors of {model.partition('#')[0]}"
        return TeacherRows(
            [
                embed(root, encoder, side, [text_id(text) for text in part], part, label).vectors
                for part in parts
            ]
        )

    return {side: rows(side) for side in SIDES}


def _score(examples: list[Row], texts: Texts, scorers: Sequence[Scorer]) -> Shard:
    """One shard's rows: an example's follow each other, in the teachers' order."""
    queries = texts["query"].numbers(queries_of(examples))
    documents = texts["document"].numbers(documents_of(examples))
    of_document = np.repeat(queries, [1 + len(row["negatives"]) for row in examples])
    scores = [iter(_products(scorer, of_document, documents)) for scorer in scorers]
    return Shard(
        [
            {
                "query_id": row["query_id"],
                "teacher": scorer.name,
                "scale": SCALE,
                "positive_score": next(of_scorer),
                "negative_scores": [next(of_scorer) for _ in row["negatives"]],
            }
            for row in examples
            for scorer, of_scorer in zip(scorers, scores, strict=True)
        ]
    )


def _products(
    scorer: Scorer, queries: NDArray[np.int64], documents: NDArray[np.int64]
) -> list[float]:
    """The similarities of texts by number, pair by pair."""
    products = _vectors(scorer, "query", queries) * _vectors(scorer, "document", documents)
    similarities: list[float] = products.sum(axis=1).tolist()
    return similarities


def _vectors(scorer: Scorer, side: Side, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """(texts, dimensions). Several teachers' unit vectors stand side by side, and are a unit vector
    again (Jasper, Zhang et al. 2024)."""
    rows = torch.from_numpy(numbers)
    members = [of[side].take(rows).numpy().astype(np.float64) for of in scorer.members]
    return np.concatenate(members, axis=1) / np.sqrt(len(members))
