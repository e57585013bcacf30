"""The stage `base` of a static student: token vectors in closed form, from queries and passages
and the teacher's vectors of them."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer

from distill.embed.encoder import Vectors
from distill.errors import UserError
from distill.models.reference import identify_revision
from distill.models.sentence_transformer import load_sentence_model
from distill.recipe import Student, Teacher
from distill.retrieve.corpus_index import embed_corpus
from distill.runtime.progress import show_activity
from distill.store.local_name import name_model
from distill.store.passages import PassageReader
from distill.store.run import Run
from distill.store.stage import Stage
from distill.store.tables import EXAMPLES, read_rows
from distill.student.build import read_vocabulary_texts
from distill.student.saving import has_same_vectors, move_into_place, save_beside
from distill.student.static.tokens import (
    count_tokens,
    find_unknown_token,
    load_tokenizer,
    make_tokenizer,
    spell_tokens,
)
from distill.student.writing import StudentTexts
from distill.teacher.vectors import (
    TeacherRows,
    embed_with_teacher,
    identify_teacher,
    open_teacher,
    uses_tasks,
)
from distill.train.static.ridge import solve_ridge
from distill.train.static.token_prior import make_token_prior

_SAMPLE = 1000
"""Queries on which the fit is measured."""


class _Query(NamedTuple):
    """A query: `text` is what the teacher embeds under its own prompt, `written` what the student
    reads."""

    text: str
    task: str
    written: str


class _Problem(NamedTuple):
    """The regression problem that token vectors solve: `counts` of (texts, tokens), queries first,
    the teacher's vectors of these texts, and a `prior` of (tokens, dimensions), not 0 of `spelled`
    tokens."""

    counts: csr_array
    targets: "_Targets"
    prior: Vectors
    queries: int
    spelled: int


def build_static_base(
    run: Run,
    student: Student,
    teacher: Teacher,
    seed: int,
    passages: Stage | None,
    examples: Sequence[Stage],
) -> Stage:
    """Fit a vector for each token: the sum over a text's tokens, scaled by the text's length, is to
    be its teacher's vector (ridge regression over all queries and the passages, towards
    `student.static.prior`).

    Raises:
        UserError: if the tokenizer cannot be read, or knows no word of the texts.
    """
    if passages is None:
        raise ValueError("no corpus: a recipe for its query side is refused without it")
    stage = run.open_stage("base", fingerprint(student, teacher, seed), [passages, *examples])
    if stage.complete:
        return stage
    texts = read_vocabulary_texts(student, [passages] if student.vocabulary == "corpus" else [])
    tokenizer = make_tokenizer(student, texts)
    with show_activity("reading texts and the teacher's vectors"):
        problem = _read_problem(run, student, teacher, seed, passages, examples, tokenizer)
    ridge = student.static.ridge
    vectors = solve_ridge(problem.counts, problem.targets.read, ridge, problem.prior)
    _save_base(stage, student, make_static_model(student, tokenizer, vectors))
    stage.finish(
        parameters=vectors.size,
        dimensions=vectors.shape[1],
        max_tokens=student.max_tokens,
        vocabulary=vectors.shape[0],
        vocabulary_before=len(load_tokenizer(student)),
        texts=problem.counts.shape[0],
        tokens_spelled=problem.spelled,
        cosine_to_teacher=_measure_fit(problem, vectors),
    )
    return stage


def fingerprint(student: Student, teacher: Teacher, seed: int) -> dict[str, Any]:
    """Collect the settings that change the token vectors before training."""
    settings = student.list_fingerprinted(exclude={"lora", "symmetric", "route"})
    settings |= {
        "encoder": name_model(student.encoder),
        "revision": identify_revision(student.encoder),
    }
    if student.vocabulary == "all":
        # An earlier version fitted each token that no text has as a text of its own.
        settings["unseen_tokens"] = student.static.prior
    return settings | {
        "seed": seed,
        "teacher": identify_teacher(teacher, str(teacher.model)),
    }


def _read_problem(
    run: Run,
    student: Student,
    teacher: Teacher,
    seed: int,
    passages: Stage,
    examples: Sequence[Stage],
    tokenizer: Tokenizer,
) -> _Problem:
    queries = _read_queries(student, examples)
    numbers = _draw_passages(len(PassageReader(passages.folder)), student, seed)
    documents = _count_passages(student, tokenizer, passages, numbers)
    counts = vstack([count_tokens(tokenizer, [q.written for q in queries]), documents]).tocsr()
    _check_known(student, tokenizer, counts)
    words = _spell_tokens(tokenizer, counts.shape[1]) if student.static.prior == "token" else {}
    spelled = [_Query(word, student.default_task, word) for word in words.values()]
    targets = _Targets(run, teacher, passages, queries, numbers, spelled)
    alone = targets.read(slice(counts.shape[0], None))
    prior = make_token_prior(counts, list(words), alone)
    return _Problem(counts, targets, prior, len(queries), len(words))


def _read_queries(student: Student, examples: Sequence[Stage]) -> list[_Query]:
    """Read every query once under each of its tasks."""
    writer = StudentTexts(student)
    queries: dict[_Query, None] = {}
    for stage in examples:
        for row in read_rows(EXAMPLES, stage.folder):
            written = "".join(writer.write_query(row))
            queries.setdefault(_Query(row["query"], row["task"], written))
    return list(queries)


def _draw_passages(count: int, student: Student, seed: int) -> list[int]:
    most = min(count, student.static.documents)
    return sorted(random.Random(f"{seed}|static").sample(range(count), most))


def _count_passages(
    student: Student, tokenizer: Tokenizer, passages: Stage, numbers: Sequence[int]
) -> csr_array:
    """Count the passages' tokens; one shard of the corpus is in memory at a time."""
    wanted, form = set(numbers), student.text_format
    return count_tokens(
        tokenizer,
        (
            "".join(form.write_document(row["text"], row["title"]))
            for number, row in enumerate(PassageReader(passages.folder))
            if number in wanted
        ),
    )


def _check_known(student: Student, tokenizer: Tokenizer, counts: csr_array) -> None:
    seen = set(np.unique(counts.indices)) - {find_unknown_token(tokenizer)}
    if not seen:
        raise UserError(
            f"student.encoder {student.encoder!r}",
            "has a tokenizer that knows no word of the corpus",
            "name a model of the corpus' language",
        )


def _spell_tokens(tokenizer: Tokenizer, tokens: int) -> dict[int, str]:
    """Spell each token, by number, as what the student would read as a text."""
    texts = spell_tokens(tokenizer, range(tokens))
    return {number: text for number, text in enumerate(texts) if text}


class _Targets:
    """The teacher's vectors: of the queries, then the passages, then the words."""

    def __init__(
        self,
        run: Run,
        teacher: Teacher,
        passages: Stage,
        queries: Sequence[_Query],
        numbers: Sequence[int],
        words: Sequence[_Query],
    ) -> None:
        tasks = [query.task for query in (*queries, *words)]
        texts = [query.text for query in (*queries, *words)]
        ids = [f"q{i}" for i in range(len(texts))]
        query_vectors = embed_with_teacher(
            run,
            teacher,
            dict(zip(ids, texts, strict=True)),
            tasks=dict(zip(ids, tasks, strict=True)) if uses_tasks(teacher) else None,
        )
        encoder = open_teacher(teacher, str(teacher.model), run.workers)
        corpus = embed_corpus(run, encoder, passages)
        self._rows = TeacherRows([*query_vectors.parts, corpus.vectors])
        behind = range(len(queries), len(texts))
        middle = (len(texts) + number for number in numbers)
        self._order = torch.tensor([*range(len(queries)), *middle, *behind])

    def read(self, texts: slice) -> Vectors:
        """Read targets: (texts, dimensions) float32."""
        vectors: Vectors = self._rows.take(self._order[texts]).numpy()
        return vectors


def make_static_model(
    student: Student, tokenizer: Tokenizer, vectors: Vectors
) -> SentenceTransformer:
    """Make a static student of its token vectors, (tokens, dimensions)."""
    return SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, vectors), Normalize()],
        prompts=student.text_format.make_prompts(student.default_task),
        similarity_fn_name="cosine",
        device="cpu",
    )


def _save_base(stage: Stage, student: Student, model: SentenceTransformer) -> None:
    part = save_beside(stage, model)
    if not has_same_vectors(model, load_sentence_model(part, device="cpu")):
        raise UserError(
            f"student.encoder {student.encoder!r}",
            "has a tokenizer that comes back from disk as another one",
            "name a model with another tokenizer",
        )
    move_into_place(stage, part)


def _measure_fit(problem: _Problem, vectors: Vectors) -> float | None:
    """Measure the mean cosine of the first queries' vectors with the teacher's."""
    some = slice(min(problem.queries, _SAMPLE))
    if not problem.queries:
        return None
    ours = problem.counts[some] @ vectors
    lengths = np.maximum(np.linalg.norm(ours, axis=1), 1e-12)
    cosines = (ours * problem.targets.read(some)).sum(1) / lengths
    return round(float(cosines.mean()), 4)
