"""Queries held out of training for validation: split by passage, so that none leaks."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distill.errors import UserError
from distill.recipe import Recipe
from distill.recipe.sections.train import Validation
from distill.store.passages import PassageReader
from distill.store.tables import EXAMPLES, Row
from distill.train.data.sources import TrainingInputs


@dataclass(frozen=True)
class HeldOut:
    """The held-out share of the positive passages, with their queries.

    A query is held out if both its positive and the passage that it was written from are; it is
    trained on if neither is. A query with one of both, or with the text of a held-out query, is in
    neither set. So no held-out passage is a positive in training. It may be another query's hard
    negative there, which does not help to find it.
    """

    passages: frozenset[str]
    """Ids of the held-out passages."""
    texts: frozenset[str]
    """Their texts, since titles and other sources give them other ids."""
    query_texts: frozenset[str]
    """The texts of all held-out queries."""
    queries: list[Row]
    """The held-out queries that validation runs."""
    documents: dict[str, str]
    """The documents that validation searches, by id."""

    def allows(self, row: Row) -> bool:
        """Whether an example may be trained on."""
        return not (
            row["positive_id"] in self.passages
            or row["seed_id"] in self.passages
            or row["positive"] in self.texts
            or row["query"] in self.query_texts
        )


def hold_out(recipe: Recipe, inputs: TrainingInputs) -> HeldOut | None:
    """Choose the held-out queries; None where the recipe holds nothing out.

    Raises:
        UserError: if no query is left, held out or to train on.
    """
    rule = recipe.train.validation
    if rule.share == 0:
        return None
    rows = [row for stage in inputs.examples for row in stage.rows(EXAMPLES)]
    draw = random.Random(f"{recipe.seed}|validation")
    positives = list(dict.fromkeys(row["positive_id"] for row in rows))
    if recipe.student.route == "query":
        ids, held = _hold_out_in_every_round(recipe, inputs, rows)
    else:
        ids = frozenset(draw.sample(positives, max(1, round(rule.share * len(positives)))))
        held = [row for row in rows if row["positive_id"] in ids and _seed_id(row) in ids]
    if not held or ids >= set(positives):
        raise UserError(
            f"train.validation.share {rule.share}",
            f"holds out {len(ids)} of {len(positives)} positive passages, {len(held)} queries",
            "choose another share, or generate more queries",
        )
    queries = draw.sample(held, min(rule.queries, len(held)))
    texts = frozenset(row["positive"] for row in rows if row["positive_id"] in ids)
    query_texts = frozenset(row["query"] for row in held)
    documents = _draw_documents(rule, rows, queries, inputs, draw)
    return HeldOut(ids, texts, query_texts, queries, documents)


def _hold_out_in_every_round(
    recipe: Recipe, inputs: TrainingInputs, rows: Sequence[Row]
) -> tuple[frozenset[str], list[Row]]:
    """Hold out for a query encoder, which trains on in later rounds of relabelling: each passage,
    and each query that was written from none, by a number drawn from itself and the seed, so that
    nothing that one round has trained on is held out in another. The positives of its held-out
    queries are passages of the corpus, whose vectors it searches."""

    def is_drawn(name: str) -> bool:
        digest = hashlib.sha256(f"{recipe.seed}|validation|{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < recipe.train.validation.share

    corpus = [] if inputs.passages is None else PassageReader(inputs.passages.folder).read_ids()
    inside = frozenset(corpus)
    ids = frozenset(id_ for row in rows if is_drawn(id_ := row["positive_id"]))
    ids |= frozenset(id_ for row in rows if (id_ := row["seed_id"]) and is_drawn(id_))
    held = [
        row
        for row in rows
        if row["positive_id"] in inside
        and (
            row["positive_id"] in ids and row["seed_id"] in ids
            if row["seed_id"]
            else is_drawn(row["query"])
        )
    ]
    return ids, held


def _seed_id(row: Row) -> str:
    """The passage that a query was written from; its positive, where the texts are of no corpus."""
    return str(row["seed_id"] or row["positive_id"])


def _draw_documents(
    rule: Validation,
    rows: Sequence[Row],
    queries: Sequence[Row],
    inputs: TrainingInputs,
    draw: random.Random,
) -> dict[str, str]:
    """The positives, and others drawn from the corpus (without one, from the examples' texts)."""
    needed = {row["positive_id"]: row["positive"] for row in queries}

    def draw_others(ids: Iterable[str]) -> list[str]:
        others = [id_ for id_ in ids if id_ not in needed]
        return draw.sample(others, min(len(others), max(0, rule.passages - len(needed))))

    if inputs.passages is not None:
        reader = PassageReader(inputs.passages.folder)
        chosen = draw_others(reader.read_ids())
        texts = reader.read_texts(chosen)
    else:
        texts = {row["positive_id"]: row["positive"] for row in rows}
        for row in rows:
            texts |= dict(zip(row["negative_ids"], row["negatives"], strict=True))
        chosen = draw_others(texts)
    return needed | {id_: texts[id_] for id_ in chosen}
