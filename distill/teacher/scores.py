"""The stage `teacher-scores`: the similarity of each example's query with its documents, by one or
several large embedders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from distill.embed.vectors.vector_store import embed
from distill.errors import UserError
from distill.recipe import Teacher
from distill.store.run import Run
from distill.store.shards import list_shards
from distill.store.stage import ShardResult, Stage
from distill.store.tables import EXAMPLES, TEACHER_SCORES, Row, read_shard
from distill.teacher.texts import DistinctTexts, TextsOf, list_documents, list_queries, make_text_id
from distill.teacher.vectors import TeacherRows, identify_teacher, open_teacher
from distill.text.format import Side

SCALE = "cosine"
"""Inner product of unit vectors, from -1 to 1."""


class TeacherEmbeddings(NamedTuple):
    """The distinct texts of one side as a teacher reads them, and the teacher's vectors of them."""

    texts: DistinctTexts
    rows: TeacherRows

    def get_vectors(self, examples: Sequence[Row]) -> NDArray[np.float64]:
        """Return the vectors of these examples' texts, (texts, dimensions)."""
        numbers = self.texts.number_examples(examples)
        return self.rows.take(torch.from_numpy(numbers)).numpy().astype(np.float64)


class TeacherScorer(NamedTuple):
    """One model, or several whose vectors are concatenated, under its name in the table."""

    name: str
    members: list[Mapping[Side, TeacherEmbeddings]]


def make_teacher_scores(run: Run, teacher: Teacher, examples: Sequence[Stage]) -> Stage:
    """Score every example by `teacher.model` and `teacher.additional_models`: a row for each
    example and teacher, in the examples' order; or one for each example where the vectors are
    concatenated.

    First each teacher, one after the other in memory, embeds what it has not embedded yet; then
    the scores are read off the vectors. The shards are those of the examples, stage after stage.

    Raises:
        UserError: if the recipe names no teacher, or one twice, or there is no example.
    """
    models = _list_models(teacher)
    if not any(stage.manifest["rows"] for stage in examples):
        raise UserError(
            ", ".join(str(stage.folder) for stage in examples) or "examples",
            "there is no example to score",
            "generate more queries, or filter fewer of them",
        )
    stage = run.open_stage("teacher-scores", fingerprint(teacher), examples)
    if stage.complete:
        return stage
    paths = [path for folder in examples for path in list_shards(folder.folder)]
    scorers = _make_scorers(run, teacher, models, paths)
    stage.map_shards(
        TEACHER_SCORES, paths, lambda path: _score(read_shard(EXAMPLES, path), scorers)
    )
    texts = {side: len(of.texts) for side, of in scorers[0].members[0].items()}
    stage.finish(queries=texts["query"], documents=texts["document"])
    return stage


def fingerprint(teacher: Teacher) -> dict[str, object]:
    """Collect the settings that change the scores."""
    return {
        "teachers": [identify_teacher(teacher, model) for model in _list_models(teacher)],
        "combine": teacher.combine,
    }


def _list_models(teacher: Teacher) -> list[str]:
    if teacher.model is None:
        raise UserError(
            "the recipe",
            "names no teacher",
            "set teacher.model to a large embedder, such as BAAI/bge-large-en-v1.5",
        )
    models = [teacher.model, *teacher.additional_models]
    if len(set(models)) != len(models):
        raise UserError(
            "the recipe",
            "names a teacher twice",
            "correct teacher.additional_models: each model once",
        )
    return models


def _make_scorers(
    run: Run, teacher: Teacher, models: Sequence[str], paths: Sequence[Path]
) -> list[TeacherScorer]:
    embedded = [_embed(run, teacher, model, paths) for model in models]
    if teacher.combine == "concatenate":
        return [TeacherScorer(" + ".join(models), embedded)]
    return [TeacherScorer(model, [of]) for model, of in zip(models, embedded, strict=True)]


def _embed(
    run: Run, teacher: Teacher, model: str, paths: Sequence[Path]
) -> Mapping[Side, TeacherEmbeddings]:
    """Embed each distinct text once a side, with its prompt."""
    encoder = open_teacher(teacher, model, run.workers)
    root = run.folder / "vectors"
    wording = encoder.wording

    def list_query_texts(rows: Sequence[Row]) -> list[str]:
        return wording.write(list_queries(rows), "query", [row["task"] for row in rows])

    def list_document_texts(rows: Sequence[Row]) -> list[str]:
        return wording.write(list_documents(rows), "document")

    def embed_distinct(side: Side, texts_of: TextsOf) -> TeacherEmbeddings:
        texts = DistinctTexts(paths, texts_of)
        label = f"{side} vectors of {model.partition('#')[0]}"
        parts = (part for part in texts.iterate_parts() if part)
        return TeacherEmbeddings(
            texts,
            TeacherRows(
                [
                    embed(
                        root,
                        encoder,
                        side,
                        [make_text_id(text) for text in part],
                        part,
                        label,
                        workers=run.workers,
                    ).vectors
                    for part in parts
                ]
            ),
        )

    return {
        "query": embed_distinct("query", list_query_texts),
        "document": embed_distinct("document", list_document_texts),
    }


def _score(examples: list[Row], scorers: Sequence[TeacherScorer]) -> ShardResult:
    """Make the rows of one shard: those of an example follow each other, in the teachers' order."""
    counts = [1 + len(row["negatives"]) for row in examples]
    scores = [iter(_compute_products(scorer, examples, counts)) for scorer in scorers]
    return ShardResult(
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


def _compute_products(
    scorer: TeacherScorer, examples: Sequence[Row], counts: Sequence[int]
) -> list[float]:
    """Compute the similarity of each query with each of its documents."""
    queries = np.repeat(_gather_vectors(scorer, "query", examples), counts, axis=0)
    similarities: list[float] = (
        (queries * _gather_vectors(scorer, "document", examples)).sum(1).tolist()
    )
    return similarities


def _gather_vectors(
    scorer: TeacherScorer, side: Side, examples: Sequence[Row]
) -> NDArray[np.float64]:
    """Gather vectors, (texts, dimensions). Several teachers' unit vectors are concatenated and
    scaled to a unit vector again (Jasper, Zhang et al. 2024)."""
    members = [of[side].get_vectors(examples) for of in scorer.members]
    return np.concatenate(members, axis=1) / np.sqrt(len(members))
